"""Tiny networks with parameters that keep every branch alive, shared by the tests of this folder."""

import functools

import jax
import numpy as np

from da3jax.config import BackboneConfig, CameraConfig, DPTConfig, DualDPTConfig, GaussianHeadConfig, ModelConfig
from da3jax.models import forward, init_params
from tests.quick import quick_jit

PYRAMID = {"features": 8, "channels": (4, 4, 8, 8)}
HEIGHT, WIDTH = 28, 42

ANYVIEW = ModelConfig(
    "four-blocks",
    BackboneConfig(16, 4, 2, taps=(0, 1, 2, 3), alt_start=2, qknorm_start=2, rope_start=2, pos_grid=3),
    DualDPTConfig(**PYRAMID),
    CameraConfig(encoder_depth=1, encoder_heads=4),
    GaussianHeadConfig(**PYRAMID),
)
"""Block 3 attends across views, the reference is chosen after block 0. Four blocks, for two cannot feed four taps."""

SINGLE_VIEW = ModelConfig(
    "four-plain-blocks", BackboneConfig(16, 4, 2, taps=(0, 1, 2, 3), cat_token=False, pos_grid=3), DPTConfig(**PYRAMID)
)


@functools.cache
def params_of(config: ModelConfig) -> dict:
    """Parameters of normal numbers, scaled so that activations stay near 1."""
    rng = np.random.default_rng(0)

    def draw(path, leaf):
        normal = rng.standard_normal(leaf.shape, dtype=np.float32)
        match path[-1].key:
            case "kernel":
                last = path[-2].key in ("translation", "quaternion", "fov")
                return normal * ((0.1 if last else 1) / np.sqrt(np.prod(leaf.shape[:-1])))
            case "scale" | "gamma":
                return 1 + 0.1 * normal
            case "bias" if path[-2].key == "quaternion":
                return np.float32([0.1, -0.2, 0.2, 1.0])
            case "bias" if path[-2].key == "fov":
                return np.float32([0.9, 1.1])
        return 0.3 * normal

    shapes = jax.eval_shape(functools.partial(init_params, config), jax.random.key(0))
    return jax.device_put(jax.tree_util.tree_map_with_path(draw, shapes))


def images_of(*leading: int, height: int = HEIGHT, width: int = WIDTH, seed: int = 0) -> np.ndarray:
    """Normal numbers (*leading, height, width, 3)."""
    return np.random.default_rng(seed).standard_normal((*leading, height, width, 3), dtype=np.float32)


@functools.cache
def compiled(config: ModelConfig, **options):
    """`forward` of (params, images, …), compiled once for all tests of a file that ask for the same options."""
    return quick_jit(functools.partial(forward, config=config, **options))
