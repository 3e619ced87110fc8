"""A mesh whose devices share the scenes of a batch, and, along one of its axes, parameters too."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

BATCH_AXES = ("data", "fsdp")
"""Scenes are split over both; parameters and the optimiser's moments over `fsdp` alone."""

SMALLEST = 2**14
"""Numbers from which on a leaf is split; below, sending it around costs more than it saves."""


def make_mesh(data: int = -1, fsdp: int = 1, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh of `data` × `fsdp` devices (all there are by default), where -1 for one of the two means what is left.

    Raises:
        ValueError: the devices do not split that way.
    """
    devices = jax.devices() if devices is None else list(devices)
    count = len(devices)
    wanted = f"a mesh of data {data} × fsdp {fsdp}"
    if min(data, fsdp) < -1 or 0 in (data, fsdp) or data == fsdp == -1:
        raise ValueError(f"{wanted} cannot be made; both are positive numbers of devices, or one is -1 for what is left")
    data, fsdp = (count // fsdp if data == -1 else data), (count // data if fsdp == -1 else fsdp)
    if data * fsdp != count:
        raise ValueError(f"{wanted} does not fit {count} devices; their product is {count}, or one is -1 for what is left")
    return jax.make_mesh((data, fsdp), BATCH_AXES, axis_types=(AxisType.Auto,) * 2, devices=devices)


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Of arrays whose first axis is the scenes."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


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
