"""Where training starts from: a Depth Anything 3 checkpoint, a DINOv2 one, or nothing; and what it took from there."""

from __future__ import annotations

import json
import logging
import pathlib
import re
from dataclasses import dataclass

import jax
from flax import traverse_util

from da3jax.config import BackboneConfig, ModelConfig, NestedConfig
from da3jax.models import init_params
from da3jax.types import Params
from da3jax.weights import dinov2, hub, store
from da3jax.weights.placement import Shardings, place, sharding_of
from da3jax.weights.released import CONFIG
from da3jax.weights.safetensors_store import parameter_shapes

logger = logging.getLogger(__name__)

_SIZES = ("width", "depth", "num_heads", "mlp", "pos_grid")
"""Fields of a backbone that its weights depend on. Where alternation, rotations and norms start is free to differ."""


@dataclass(frozen=True)
class StartingPoint:
    """What `starting_params` did. Parameters are named by their path, `backbone/blocks_0/attn/qkv/kernel`."""

    source: str | None
    """What was given."""
    loaded: tuple[str, ...]
    """Parameters that have the values of the source."""
    initialised: tuple[str, ...]
    """Parameters that are random, or what their initialiser says."""
    unused: tuple[str, ...]
    """What of the source was not used: paths, or keys of a DINOv2 checkpoint."""

    def __str__(self) -> str:
        if self.source is None:
            return f"training starts from nothing: all {len(self.initialised)} parameters are initialised"
        kept = {name.split("/")[0] for name in self.loaded}
        said = [f"training starts from {self.source}: {len(self.loaded)} parameters are loaded"]
        said += [f"initialised are {_layers(self.initialised, kept)}"] if self.initialised else []
        said += [f"of the source {_layers(self.unused, kept)} are not used"] if self.unused else []
        return "; ".join(said)


def starting_params(
    config: ModelConfig,
    source: str | pathlib.Path | None,
    key: jax.Array,
    *,
    revision: str | None = None,
    shardings: Shardings = None,
    progress: bool = False,
) -> tuple[Params, StartingPoint]:
    """Parameters (float32, an entry a block) to train `config` from, and what they are; the latter is logged, too.

    From a DINOv2 checkpoint the backbone gets all that DINOv2 has; camera token, norms of queries and keys, heads, camera encoder and
    decoder are initialised (paper, section 3: a vanilla DINOv2 is the backbone). From a Depth Anything 3 checkpoint a head or camera part
    is taken as a whole, or, where its configuration differs, as a whole initialised.

    Args:
        config: the network to be trained.
        source: a hub id, a folder as released, a converted folder, a DINOv2 checkpoint in the layout of the transformers library
            (hub id such as `facebook/dinov2-small`, or folder), or None.
        key: of what is initialised; as `da3jax.init_params` takes it.
        revision: as `da3jax.DepthAnything3.from_pretrained`.
        shardings: where the leaves go, as there; a dict is a tree like the parameters of `config`.
        progress: whether a download shows its progress bars.

    Raises:
        ValueError: the backbone of the source has other sizes, the source is a nested network, or its weights are broken.
        OSError: what is named is not there or cannot be fetched.
    """
    shapes = parameter_shapes(config)
    loaded, unused = {}, []
    if source is not None:
        folder = hub.resolve(source, revision=revision, progress=progress)
        load = _from_dinov2 if _is_transformers(folder) else _from_da3
        loaded, unused = load(folder, config, shardings)
    missing = [path for path in shapes if path not in loaded]
    params = traverse_util.unflatten_dict(loaded | _initialised(config, missing, key, shardings))
    named = ["/".join(path) for path in shapes if path in loaded], ["/".join(path) for path in missing]
    point = StartingPoint(None if source is None else str(source), *map(tuple, (*named, unused)))
    logger.info("%s", point)
    return params, point


def _is_transformers(folder: pathlib.Path) -> bool:
    """Whether `config.json` is one of the transformers library, of whichever model; what is wrong with another, its reader says."""
    try:
        found = json.loads((folder / CONFIG).read_text())
        return isinstance(found, dict) and "model_type" in found
    except (OSError, ValueError, RecursionError):
        return False


def _from_dinov2(folder: pathlib.Path, config: ModelConfig, shardings: Shardings) -> tuple[dict, list[str]]:
    shapes = {"/".join(path[1:]): shape for path, shape in parameter_shapes(config).items() if path[0] == "backbone"}
    backbone, unused = dinov2.load(folder, config.backbone, shapes, shardings=shardings)
    return traverse_util.flatten_dict({"backbone": backbone}), unused


def _from_da3(folder: pathlib.Path, config: ModelConfig, shardings: Shardings) -> tuple[dict, list[str]]:
    params, theirs = store.load(folder)
    if isinstance(theirs, NestedConfig):
        raise ValueError(f"{folder} holds the nested network {theirs.name}; training starts from one network, so name one of its halves")
    dinov2.check_sizes(str(folder), _sizes(theirs.backbone), _sizes(config.backbone))
    flat, shapes = traverse_util.flatten_dict(params), parameter_shapes(config)

    def same(part: str) -> bool:
        """Whether a whole part of the network is the same there and here."""
        here, there = ({path: x.shape for path, x in tree.items() if path[0] == part} for tree in (shapes, flat))
        return here == there and (part != "camera_encoder" or config.camera == theirs.camera)  # its heads are in no shape

    whole = {part for part in params if same(part)}
    fits = {path: flat[path] for path in shapes if path in flat and (path[0] in whole or path[0] == "backbone")}
    loaded = {path: place(leaf, "/".join(path), shardings) for path, leaf in fits.items()}
    return loaded, ["/".join(path) for path in flat if path not in fits]


def _sizes(backbone: BackboneConfig) -> dict[str, object]:
    return {name: getattr(backbone, name) for name in _SIZES}


def _initialised(config: ModelConfig, paths: list[tuple[str, ...]], key: jax.Array, shardings: Shardings) -> dict:
    """Those parameters of `init_params` that are at `paths`; the others, and what the network computes, are never made."""
    shapes = parameter_shapes(config)
    placed = {path: sharding_of("/".join(path), shapes[path].shape, shardings) for path in paths}

    def some(key: jax.Array) -> dict:
        flat = traverse_util.flatten_dict(init_params(config, key))
        return {path: flat[path] for path in paths}

    quick = {"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True}  # it runs once: compiling takes the time
    options = quick if jax.default_backend() == "cpu" else None
    return jax.jit(some, out_shardings=placed, compiler_options=options)(key) if paths else {}


def _layers(names: tuple[str, ...], kept: set[str]) -> str:
    """`names` without repetition: parts of which nothing is `kept` as a whole, layers with a star for their number."""
    short = (name if "/" not in name else name.split("/")[0] if name.split("/")[0] not in kept else _starred(name) for name in names)
    return ", ".join(dict.fromkeys(short))


def _starred(path: str) -> str:
    return re.sub(r"_\d+/", "_*/", path.rpartition("/")[0] if path.count("/") > 1 else path)
