"""Pseudo-random weights in the released layout, for any configuration. Imports the official package."""

import json
import pathlib
import zlib

import numpy as np

from convert.verify import official_network
from da3jax.config import Config
from da3jax.weights.official_config import to_official


def write_checkpoint(config: Config, folder: pathlib.Path, seed: int = 0) -> pathlib.Path:
    """`model.safetensors` and `config.json` as released, every value a function of key, shape and seed.

    Scales keep activations of deep networks near 1 and every branch alive: residual branches count for a third, the last layers for less,
    the quaternion stays away from zero and the field of view away from its ReLU.
    """
    import torch
    from safetensors.torch import save_model

    holder = torch.nn.Module()
    holder.model = official_network(config)
    with torch.no_grad():
        for key, parameter in holder.named_parameters():
            parameter.copy_(torch.from_numpy(_values(key, tuple(parameter.shape), seed)))
    folder.mkdir(parents=True, exist_ok=True)
    save_model(holder, str(folder / "model.safetensors"))
    (folder / "config.json").write_text(json.dumps(to_official(config), indent=2))
    return folder


def _values(key: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    normal = np.random.default_rng([zlib.crc32(key.encode()), seed]).standard_normal(shape, dtype=np.float32)
    match key.split("."):
        case [*_, "gamma"]:
            return 0.33 + 0.05 * normal
        case [*_, "fc_qvec", "bias"]:
            return np.float32([0.1, -0.2, 0.2, 1.0])
        case [*_, "fc_fov", "0", "bias"]:
            return np.float32([0.9, 1.1])
        case [*_, "bias"]:
            return 0.05 * normal
        case [*_, "cls_token" | "camera_token" | "pos_embed"]:
            return 0.3 * normal
    if len(shape) == 1:  # scale of a norm
        return 1 + 0.1 * normal
    last = (".fc_t.", ".fc_qvec.", ".fc_fov.", "output_conv2.2.", "output_conv2_aux.3.5.")
    return normal * ((0.3 if any(name in key for name in last) else 1.0) / np.sqrt(np.prod(shape[1:])))
