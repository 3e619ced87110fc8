"""Parameters that are split over the devices of a mesh's `fsdp` axis, and put together where they are used."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable
from typing import Any

import jax
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

FSDP_AXIS = "fsdp"

SMALLEST = 2**14
"""Numbers from which on a leaf is split; below, sending it around costs more than it saves."""

_STACKED = re.compile(r"\bsegment_\d+/")


def fsdp_shardings(tree: Any, mesh: Mesh) -> Any:
    """A sharding for each leaf that has a shape: large ones are split over `fsdp` along the longest axis that it divides, others whole.

    The first axis of stacked layers is never split, for a scan takes them one by one.
    """
    sharding_of = fsdp_sharding(mesh)
    return jax.tree_util.tree_map_with_path(lambda path, leaf: sharding_of(_name(path), leaf.shape), tree)


def fsdp_sharding(mesh: Mesh) -> Callable[[str, tuple[int, ...]], NamedSharding]:
    """The same as a function of a leaf's path (`a/b/c`) and shape, as weights are loaded by."""
    parts = mesh.shape[FSDP_AXIS]

    def sharding(path: str, shape: tuple[int, ...]) -> NamedSharding:
        first = 1 if _STACKED.search(path) else 0
        axes = [axis for axis in range(first, len(shape)) if shape[axis] % parts == 0]
        if parts == 1 or math.prod(shape) < SMALLEST or not axes:
            return NamedSharding(mesh, PartitionSpec())
        axis = max(axes, key=lambda axis: shape[axis])
        return NamedSharding(mesh, PartitionSpec(*(None,) * axis, FSDP_AXIS))

    return sharding


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Part:
    """What a device has of a leaf, inside `jax.shard_map`."""

    values: jax.Array
    axis: int = dataclasses.field(metadata={"static": True})
    """Along which the parts of all devices make the leaf; negative, so that a scan over stacked layers leaves it right."""


def as_parts(params: Any, specs: Any, later: Callable[[str], bool]) -> Any:
    """Inside `jax.shard_map`: the leaves that `specs` split as `Part`s where `later(path)`, and whole elsewhere."""

    def part(path: tuple, values: jax.Array, spec: PartitionSpec) -> Any:
        if FSDP_AXIS not in spec:
            return values
        found = Part(values, spec.index(FSDP_AXIS) - values.ndim)
        return found if later(_name(path)) else _whole(found)

    return jax.tree_util.tree_map_with_path(part, params, specs)


def has_parts(params: Any) -> bool:
    """Whether any leaf is a `Part`."""
    return any(isinstance(leaf, Part) for leaf in jax.tree.leaves(params, is_leaf=_is_part))


def put_together(params: Any, after: jax.Array) -> Any:
    """The parameters with whole leaves, which no device asks the others for before it has `after`: those of one block at a time.

    A number of `after` takes part, for some compilers drop a barrier; all blocks would be gathered at the start.
    """
    nothing = 0 * lax.stop_gradient(after[(0,) * after.ndim])

    def together(leaf: Any) -> jax.Array:
        return _whole(dataclasses.replace(leaf, values=leaf.values + nothing.astype(leaf.values.dtype))) if _is_part(leaf) else leaf

    return jax.tree.map(together, params, is_leaf=_is_part)


def _whole(part: Part) -> jax.Array:
    return lax.all_gather(part.values, FSDP_AXIS, axis=part.values.ndim + part.axis, tiled=True)


def _is_part(leaf: Any) -> bool:
    return isinstance(leaf, Part)


def _name(path: tuple) -> str:
    return jax.tree_util.keystr(path, simple=True, separator="/")
