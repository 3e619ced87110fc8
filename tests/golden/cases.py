"""The recorded configurations and cases. Sizes are the smallest that reach every branch."""

import numpy as np

from convert.verify import Case
from da3jax.config import BackboneConfig, CameraConfig, DPTConfig, DualDPTConfig, GaussianHeadConfig, ModelConfig

_PYRAMID = {"features": 8, "channels": (4, 8, 12, 16)}

CONFIGS = {
    "anyview": ModelConfig(
        "tiny-anyview",
        BackboneConfig(32, 6, 2, taps=(1, 3, 4, 5), alt_start=2, qknorm_start=2, rope_start=2, pos_grid=5),
        DualDPTConfig(**_PYRAMID),
        CameraConfig(encoder_depth=2, encoder_heads=4),
        GaussianHeadConfig(**_PYRAMID),
    ),
    "single_view": ModelConfig(
        "tiny-single-view",
        BackboneConfig(32, 4, 4, taps=(0, 1, 2, 3), cat_token=False, mlp="swiglu", pos_grid=5),
        DPTConfig(**_PYRAMID),
    ),
}

CASES = {
    "anyview": {
        "five views": Case(views=5, height=28, width=42, seed=3),
        "two scenes with cameras": Case(views=2, height=42, width=28, batch=2, poses=True, seed=1),
    },
    "single_view": {"two views": Case(views=2, height=28, width=56)},
}


def thin(name: str, array: np.ndarray) -> np.ndarray:
    """What is kept of an output: of the 37 channels of raw Gaussians, every fourth row and column."""
    return array[:, :, ::4, ::4] if name == "raw_gs" else array
