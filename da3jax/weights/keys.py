"""The names of the released tensors beside ours, a table a component.

A row is (our path, official key, layout). `{}` stands for a number; in a row it is the same on both sides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from da3jax.config import Config, NestedConfig


class Layout(NamedTuple):
    """How one layer's tensors are stored: names of the leaves here and there, and the two ways between their shapes."""

    leaves: Mapping[str, str]
    """Our leaf name to the official one."""
    to_ours: Callable[[np.ndarray], np.ndarray] = lambda x: x
    to_official: Callable[[np.ndarray], np.ndarray] = lambda x: x


_LAYER = {"kernel": "weight", "bias": "bias"}

PARAMETER = Layout({"": ""})
SCALE = Layout({"gamma": "gamma"})
NORM = Layout({"scale": "weight", "bias": "bias"})
DENSE = Layout(_LAYER, lambda w: w.T, lambda k: k.T)  # (out, in)
POINTWISE = Layout(_LAYER, lambda w: w[:, :, 0, 0].T, lambda k: k.T[:, :, None, None])  # (out, in, 1, 1)
CONV = Layout(_LAYER, lambda w: w.transpose(2, 3, 1, 0), lambda k: k.transpose(3, 2, 0, 1))  # (out, in, kh, kw)
TRANSPOSED = Layout(_LAYER, lambda w: w.transpose(2, 3, 0, 1), lambda k: k.transpose(2, 3, 0, 1))  # (in, out, kh, kw)

Row = tuple[str, str, Layout]


def _block(ours: str, official: str) -> list[Row]:
    pairs = [("norm1", NORM), ("attn/qkv", DENSE), ("attn/q_norm", NORM), ("attn/k_norm", NORM), ("attn/proj", DENSE), ("ls1", SCALE)]
    pairs += [("norm2", NORM), ("mlp/fc1", DENSE), ("mlp/fc2", DENSE), ("mlp/w12", DENSE), ("mlp/w3", DENSE), ("ls2", SCALE)]
    return [(f"{ours}/{name}", f"{official}.{name.replace('/', '.')}", layout) for name, layout in pairs]


BACKBONE: list[Row] = [
    ("backbone/cls_token", "backbone.pretrained.cls_token", PARAMETER),
    ("backbone/camera_token", "backbone.pretrained.camera_token", PARAMETER),
    ("backbone/pos_embed", "backbone.pretrained.pos_embed", PARAMETER),
    ("backbone/patch_embed", "backbone.pretrained.patch_embed.proj", CONV),
    *_block("backbone/blocks_{}", "backbone.pretrained.blocks.{}"),
    ("backbone/norm", "backbone.pretrained.norm", NORM),
]


def _pyramid(ours: str, official: str) -> list[Row]:
    return [
        (f"{ours}/norm", f"{official}.norm", NORM),
        *((f"{ours}/project_{k}", f"{official}.projects.{k - 1}", POINTWISE) for k in range(1, 5)),
        (f"{ours}/resize_1", f"{official}.resize_layers.0", TRANSPOSED),
        (f"{ours}/resize_2", f"{official}.resize_layers.1", TRANSPOSED),
        (f"{ours}/resize_4", f"{official}.resize_layers.3", CONV),
        (f"{ours}/adapter_{{}}", f"{official}.scratch.layer{{}}_rn", CONV),
        *_fusion(f"{ours}/fusion_{{}}", f"{official}.scratch.refinenet{{}}"),
        (f"{ours}/neck", f"{official}.scratch.output_conv1", CONV),
        *_output(f"{ours}/output", f"{official}.scratch.output_conv2", 2),
    ]


def _fusion(ours: str, official: str) -> list[Row]:
    units = [(f"{ours}/unit_{{}}/conv_{{}}", f"{official}.resConfUnit{{}}.conv{{}}", CONV)]
    return [*units, (f"{ours}/out", f"{official}.out_conv", POINTWISE)]


def _output(ours: str, official: str, last: int) -> list[Row]:
    return [(f"{ours}/conv_1", f"{official}.0", CONV), (f"{ours}/conv_2", f"{official}.{last}", POINTWISE)]


HEAD: list[Row] = [
    *_pyramid("head", "head"),
    *_output("head/sky", "head.scratch.sky_output_conv2", 2),
    *_fusion("head/ray_fusion_{}", "head.scratch.refinenet{}_aux"),
    *((f"head/ray_level_{{}}/conv_{k}", f"head.scratch.output_conv1_aux.{{}}.{k - 1}", CONV) for k in range(1, 6)),
    *_output("head/ray_level_{}/output", "head.scratch.output_conv2_aux.{}", 5),
    ("head/ray_norm", "head.scratch.output_conv2_aux.0.2", NORM),
]

CAMERA: list[Row] = [
    ("camera_encoder/pose/fc{}", "cam_enc.pose_branch.fc{}", DENSE),
    ("camera_encoder/token_norm", "cam_enc.token_norm", NORM),
    *_block("camera_encoder/blocks_{}", "cam_enc.trunk.{}"),
    ("camera_encoder/norm", "cam_enc.trunk_norm", NORM),
    ("camera_decoder/hidden_1", "cam_dec.backbone.0", DENSE),
    ("camera_decoder/hidden_2", "cam_dec.backbone.2", DENSE),
    ("camera_decoder/translation", "cam_dec.fc_t", DENSE),
    ("camera_decoder/quaternion", "cam_dec.fc_qvec", DENSE),
    ("camera_decoder/fov", "cam_dec.fc_fov.0", DENSE),
]

GAUSSIANS: list[Row] = [
    *_pyramid("gaussian_head", "gs_head"),
    *((f"gaussian_head/image_merger/conv_{k}", f"gs_head.images_merger.{2 * (k - 1)}", CONV) for k in range(1, 4)),
]

TABLE = [*BACKBONE, *HEAD, *CAMERA, *GAUSSIANS]

_PATTERNS = [(re.compile(re.escape(ours).replace(r"\{\}", r"(\d+)")), official, layout) for ours, official, layout in TABLE]


class Tensor(NamedTuple):
    """A released tensor: its key, its shape in the file, and how it is laid out."""

    key: str
    shape: tuple[int, ...]
    layout: Layout
    is_weight: bool
    """Whether the layout's change of axes applies (a bias has none)."""

    def to_ours(self, array: np.ndarray) -> np.ndarray:
        return self.layout.to_ours(array) if self.is_weight else array

    def to_official(self, array: np.ndarray) -> np.ndarray:
        return self.layout.to_official(array) if self.is_weight else array


def released_tensors(shapes: Mapping[tuple[str, ...], Any], config: Config) -> dict[tuple[str, ...], Tensor]:
    """For each leaf of a parameter tree (path to anything with a shape), the released tensor it comes from.

    Raises:
        KeyError: a leaf that the tables do not know.
    """
    return {path: _released_tensor(path, leaf.shape, config) for path, leaf in shapes.items()}


def _released_tensor(path: tuple[str, ...], shape: tuple[int, ...], config: Config) -> Tensor:
    prefix = "model."
    if isinstance(config, NestedConfig):
        prefix += {"anyview": "da3.", "metric": "da3_metric."}[path[0]]
        path = path[1:]
    for pattern, official, layout in _PATTERNS:
        layer, leaf = ("/".join(path), "") if layout is PARAMETER else ("/".join(path[:-1]), path[-1])
        match = pattern.fullmatch(layer)
        if match and leaf in layout.leaves:
            is_weight = leaf == "kernel"
            key = ".".join(filter(None, (prefix + official.format(*match.groups()), layout.leaves[leaf])))
            placeholder = np.broadcast_to(np.float32(0), shape)  # takes no memory
            return Tensor(key, (layout.to_official(placeholder) if is_weight else placeholder).shape, layout, is_weight)
    raise KeyError(f"no row of the key table matches {'/'.join(path)}")


def shared_norm_keys(config: Config) -> dict[str, str]:
    """Keys of the ray branch's LayerNorm at levels 1 to 3, each with the key of level 0, whose tensor it shares.

    The released files hold level 0 only; files of other origin may hold all four.
    """
    half = "da3." if isinstance(config, NestedConfig) else ""
    stem = f"model.{half}head.scratch.output_conv2_aux"
    return {f"{stem}.{level}.2.{leaf}": f"{stem}.0.2.{leaf}" for level in (1, 2, 3) for leaf in ("weight", "bias")}
