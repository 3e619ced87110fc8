"""A mesh whose devices share the scenes of a batch, along one of its axes parameters too, and along another the views of each scene."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

BATCH_AXES = ("data", "fsdp")
"""Scenes are split over both; parameters and the optimiser's moments over `fsdp` alone."""

VIEW_AXIS = "view"
"""The views of a scene are split over it."""

SMALLEST = 2**14
"""Numbers from which on a leaf is split; below, sending it around costs more than it saves."""


def make_mesh(data: int = -1, fsdp: int = 1, view: int = 1, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh of `data` × `fsdp` × `view` devices (all there are by default), where -1 for one of them means what is left.

    Raises:
        ValueError: the devices do not split that way.
    """
    devices = jax.devices() if devices is None else list(devices)
    sizes = dict(zip((*BATCH_AXES, VIEW_AXIS), (data, fsdp, view), strict=True))
    wanted = "a mesh of " + " × ".join(f"{name} {size}" for name, size in sizes.items())
    left = [name for name, size in sizes.items() if size == -1]
    if len(left) > 1 or any(size < 1 for size in sizes.values() if size != -1):
        raise ValueError(f"{wanted} cannot be made; all are positive numbers of devices, or one is -1 for what is left")
    known = math.prod(size for size in sizes.values() if size != -1)
    if left:
        sizes[left[0]] = len(devices) // known
    if math.prod(sizes.values()) != len(devices):
        raise ValueError(f"{wanted} does not fit {len(devices)} devices; their product is {len(devices)}, or one is -1 for what is left")
    return jax.make_mesh(tuple(sizes.values()), tuple(sizes), axis_types=(AxisType.Auto,) * len(sizes), devices=devices)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Of arrays whose first axis is the scenes."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def view_sharding(mesh: Mesh) -> NamedSharding:
    """Of arrays whose first axes are the scenes and their views."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES, VIEW_AXIS))


def whole(mesh: Mesh) -> NamedSharding:
    """Of arrays that every device has."""
    return NamedSharding(mesh, PartitionSpec())


def batch_parts(mesh: Mesh) -> int:
    """Among how many parts of a mesh scenes are shared."""
    return math.prod(mesh.shape[axis] for axis in BATCH_AXES)


def fsdp_shardings(tree: Any, mesh: Mesh) -> Any:
    """A sharding for each leaf that has a shape: large ones are split over `fsdp` along the longest axis that it divides, others whole."""
    parts = mesh.shape["fsdp"]

    def sharding(leaf: Any) -> NamedSharding:
        axes = [axis for axis, size in enumerate(leaf.shape) if size % parts == 0]
        if parts == 1 or leaf.size < SMALLEST or not axes:
            return NamedSharding(mesh, PartitionSpec())
        axis = max(axes, key=lambda axis: leaf.shape[axis])
        return NamedSharding(mesh, PartitionSpec(*(None,) * axis, "fsdp"))

    return jax.tree.map(sharding, tree)
