"""The backbone's part of a DINOv2 checkpoint as the transformers library keeps it (`facebook/dinov2-small` and its like on the hub)."""

from __future__ import annotations

import json
import pathlib
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from flax import traverse_util

from da3jax.config import PATCH_SIZE, BackboneConfig
from da3jax.schema import one_of
from da3jax.types import Params
from da3jax.weights.keys import CONV, DENSE, NORM, PARAMETER, Layout
from da3jax.weights.placement import Shardings, place
from da3jax.weights.released import CONFIG, WEIGHTS
from da3jax.weights.safetensors_store import DTYPES, raise_faults, read_tensor, stored_tensors

MODEL_TYPE = "dinov2"
"""`model_type` in the `config.json` of such a checkpoint."""

_LAYER, _SCALE = "encoder.layer.{}", Layout({"gamma": "lambda1"})

TABLE: list[tuple[str, tuple[str, ...], Layout]] = [
    ("cls_token", ("embeddings.cls_token",), PARAMETER),
    ("pos_embed", ("embeddings.position_embeddings",), PARAMETER),
    ("patch_embed", ("embeddings.patch_embeddings.projection",), CONV),
    ("blocks_{}/norm1", (f"{_LAYER}.norm1",), NORM),
    ("blocks_{}/attn/qkv", tuple(f"{_LAYER}.attention.attention.{part}" for part in ("query", "key", "value")), DENSE),
    ("blocks_{}/attn/proj", (f"{_LAYER}.attention.output.dense",), DENSE),
    ("blocks_{}/ls1", (f"{_LAYER}.layer_scale1",), _SCALE),
    ("blocks_{}/norm2", (f"{_LAYER}.norm2",), NORM),
    ("blocks_{}/mlp/fc1", (f"{_LAYER}.mlp.fc1",), DENSE),
    ("blocks_{}/mlp/fc2", (f"{_LAYER}.mlp.fc2",), DENSE),
    ("blocks_{}/mlp/w12", (f"{_LAYER}.mlp.weights_in",), DENSE),
    ("blocks_{}/mlp/w3", (f"{_LAYER}.mlp.weights_out",), DENSE),
    ("blocks_{}/ls2", (f"{_LAYER}.layer_scale2",), _SCALE),
    ("norm", ("layernorm",), NORM),
]
"""(our path below `backbone`, their keys one after the other along the first axis, layout), as the tables of `da3jax.weights.keys`."""

NO_COUNTERPART_THERE = re.compile(r"camera_token|blocks_\d+/attn/[qk]_norm/\w+")
"""Parameters of our backbone that DINOv2 does not have."""

NO_COUNTERPART_HERE = ("embeddings.mask_token",)
"""Keys of DINOv2 that our backbone has no use for."""

_PATTERNS = [(re.compile(ours.replace("{}", r"(\d+)")), keys, layout) for ours, keys, layout in TABLE]

_CLASS_TOKEN = "embeddings.cls_token"

_FIXED = {"patch_size": PATCH_SIZE, "num_channels": 3, "mlp_ratio": 4, "hidden_act": "gelu", "qkv_bias": True}


class Source(NamedTuple):
    """Where a leaf comes from: keys with one shape, stacked along the first axis, and their layout."""

    keys: tuple[str, ...]
    shape: tuple[int, ...]
    layout: Layout
    is_weight: bool


def load(
    folder: pathlib.Path, backbone: BackboneConfig, shapes: Mapping[str, Any], *, shardings: Shardings = None
) -> tuple[Params, list[str]]:
    """What a DINOv2 checkpoint holds of a backbone, float32, and the keys in it that are of no use here.

    The final norm's epsilon is 1e-6 there and 1e-5 in the backbone of Depth Anything 3, which takes its weights as they are.

    Args:
        folder: holds `model.safetensors` and `config.json`.
        backbone: what is to be filled; width, depth, heads, kind of MLP and position grid are those of the checkpoint.
        shapes: of the backbone's parameters, by path below `backbone`: anything with a `shape`.
        shardings: where leaves go, by path from `backbone/` on, as `da3jax.weights.placement.place` takes it.

    Returns:
        The parameters below `backbone` that DINOv2 has (all but the camera token and the norms of queries and keys), and the unused keys:
        the mask token, and what lies beside the backbone where that has a prefix (`dinov2.…`).

    Raises:
        FileNotFoundError: one of the two files is missing.
        ValueError: the checkpoint is of another backbone (both are named), or truncated; or its keys are not exactly those of the part that
            both have: every unknown, missing, mis-shaped, mistyped and non-finite one is named at once.
    """
    check_config(folder / CONFIG, backbone)
    path = folder / WEIGHTS
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: the weights of a DINOv2 network are expected there, as one safetensors file")
    stored = stored_tensors(path)
    prefix = next((key.removesuffix(_CLASS_TOKEN) for key in stored if key.endswith(_CLASS_TOKEN)), "")
    wanted = [leaf for leaf in shapes if not NO_COUNTERPART_THERE.fullmatch(leaf)]
    sources = {leaf: _source(leaf, shapes[leaf].shape, prefix) for leaf in wanted}
    unused = [key for key in stored if not key.startswith(prefix) or key.removeprefix(prefix) in NO_COUNTERPART_HERE]
    name = "a DINOv2 backbone"
    raise_faults(path, name, _faults(stored, sources, unused))
    leaves, not_finite = {}, []
    for leaf, source in sources.items():
        parts = [read_tensor(path, key) for key in source.keys]
        not_finite += [key for key, part in zip(source.keys, parts, strict=True) if not np.isfinite(part).all()]
        whole = np.concatenate(parts) if len(parts) > 1 else parts[0]
        ours = np.ascontiguousarray(source.layout.to_ours(whole) if source.is_weight else whole, np.float32)
        leaves[tuple(leaf.split("/"))] = place(ours, f"backbone/{leaf}", shardings)
    raise_faults(path, name, {"not finite (NaN or infinite)": not_finite})
    return traverse_util.unflatten_dict(leaves), unused


def check_config(path: pathlib.Path, backbone: BackboneConfig) -> None:
    """Raises a ValueError unless the `config.json` at `path` is that of a DINOv2 network with the sizes of `backbone`."""
    try:
        content = json.loads(path.read_text())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON: {error}") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} is not the config.json of a DINOv2 network: it is no mapping")
    one_of(f"{path}: model_type", content.get("model_type"), [MODEL_TYPE])
    sizes = ("hidden_size", "num_hidden_layers", "num_attention_heads", "image_size")
    missing = [key for key in sizes if key not in content]
    if missing:
        raise ValueError(f"{path} lacks {', '.join(missing)}, which say what the DINOv2 network is")
    for key in sizes:
        if not isinstance(content[key], int):
            raise ValueError(f"{path}: {key} is {content[key]!r}; it is a whole number")
    for key, value in _FIXED.items():
        if content.get(key, value) != value:
            raise ValueError(f"{path}: {key} is {content[key]!r}; a backbone of Depth Anything 3 has {value!r}")
    theirs = {
        "width": content["hidden_size"],
        "depth": content["num_hidden_layers"],
        "num_heads": content["num_attention_heads"],
        "mlp": "swiglu" if content.get("use_swiglu_ffn") else "mlp",
        "pos_grid": content["image_size"] // PATCH_SIZE,
    }
    check_sizes(str(path.parent), theirs, {key: getattr(backbone, key) for key in theirs})


def check_sizes(where: str, theirs: Mapping[str, Any], ours: Mapping[str, Any]) -> None:
    """Raises a ValueError that describes both backbones where that of `where` has other sizes than the one to be trained."""
    if theirs != ours:
        described = [", ".join(f"{key} {value}" for key, value in sizes.items()) for sizes in (theirs, ours)]
        raise ValueError(f"{where} has a backbone with {described[0]}; the one to be trained has {described[1]}: start from one that fits")


def _source(leaf: str, shape: tuple[int, ...], prefix: str) -> Source:
    for pattern, keys, layout in _PATTERNS:
        layer, _, name = (leaf, "", "") if layout is PARAMETER else leaf.rpartition("/")
        match = pattern.fullmatch(layer)
        if match and name in layout.leaves:
            is_weight = name == "kernel"
            placeholder = np.broadcast_to(np.float32(0), shape)  # takes no memory
            rows, *rest = (layout.to_official(placeholder) if is_weight else placeholder).shape
            full = tuple(".".join(filter(None, (prefix + key.format(*match.groups()), layout.leaves[name]))) for key in keys)
            return Source(full, (rows // len(keys), *rest), layout, is_weight)
    raise KeyError(f"no row of the table of DINOv2's keys matches {leaf}")


def _faults(stored: dict[str, tuple[tuple[int, ...], str]], sources: dict[str, Source], unused: list[str]) -> dict[str, list[str]]:
    """What keeps the file from being a bijection with the backbone's part, by kind."""
    expected = {key: source.shape for source in sources.values() for key in source.keys}
    both = stored.keys() & expected.keys()
    return {
        "unknown to the backbone": [key for key in stored if key not in expected and key not in unused],
        "missing": [key for key in expected if key not in stored],
        "of another shape": [f"{key} {stored[key][0]} instead of {expected[key]}" for key in both if stored[key][0] != expected[key]],
        f"of another dtype than {', '.join(DTYPES)}": [f"{key} {stored[key][1]}" for key in both if stored[key][1] not in DTYPES],
    }
