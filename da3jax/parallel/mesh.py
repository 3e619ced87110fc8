"""A mesh whose devices share the scenes of a batch, along one of its axes parameters too, and along another the views of each scene."""

from __future__ import annotations

import math
from collections.abc import Sequence

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from da3jax.schema import is_integer

BATCH_AXES = ("data", "fsdp")
"""Scenes are split over both; parameters and the optimiser's moments over `fsdp` alone."""

VIEW_AXIS = "view"
"""The views of a scene are split over it."""

AXES = (*BATCH_AXES, VIEW_AXIS)

COPY_AXES = ("data", VIEW_AXIS)
"""The devices along them have the same parameters."""


def make_mesh(data: int = -1, fsdp: int = 1, view: int = 1, devices: Sequence[jax.Device] | None = None) -> Mesh:
    """A mesh of `data` × `fsdp` × `view` devices (all there are by default), where -1 for one of them means what is left.

    Raises:
        ValueError: the devices do not split that way, or something is no number of devices, or no device.
    """
    devices = jax.devices() if devices is None else _listed(devices)
    sizes = dict(zip(AXES, (data, fsdp, view), strict=True))
    wanted = "a mesh of " + " × ".join(f"{name} {size}" for name, size in sizes.items())
    if not all(map(is_integer, sizes.values())):
        raise ValueError(f"{wanted} cannot be made; all are whole numbers of devices")
    left = [name for name, size in sizes.items() if size == -1]
    if len(left) > 1 or any(size < 1 for size in sizes.values() if size != -1):
        raise ValueError(f"{wanted} cannot be made; all are positive numbers of devices, or one is -1 for what is left")
    known = math.prod(size for size in sizes.values() if size != -1)
    if left:
        sizes[left[0]] = len(devices) // known
    if math.prod(sizes.values()) != len(devices):
        raise ValueError(
            f"{wanted} does not fit {len(devices)} devices; their product is {len(devices)}, or one is -1 for what is left: "
            f"{_call(_fitting(sizes, len(devices)))} would do"
        )
    return jax.make_mesh(tuple(sizes.values()), tuple(sizes), axis_types=(AxisType.Auto,) * len(sizes), devices=devices)


def _fitting(sizes: dict[str, int], devices: int) -> dict[str, int]:
    """The sizes with one of them changed so that they fit, the last that can be; else all along `data`."""
    sizes = {name: max(size, 1) for name, size in sizes.items()}
    for name in reversed(sizes):
        others = math.prod(sizes.values()) // sizes[name]
        if devices % others == 0:
            return {**sizes, name: devices // others}
    return {"data": devices}


def _call(sizes: dict[str, int]) -> str:
    return f"make_mesh({', '.join(f'{name}={size}' for name, size in sizes.items())})"


def _listed(devices: Sequence[jax.Device]) -> list[jax.Device]:
    found = list(devices) if np.iterable(devices) else [None]
    if not all(hasattr(device, "device_kind") for device in found):  # a compiler's description of one has it, too
        raise ValueError(f"devices is {devices!r}; it is a list of devices, such as jax.devices()[:2]")
    if not found:
        raise ValueError("devices is empty; it is at least one of jax.devices()")
    return found


def mesh_of(devices: int | Sequence[jax.Device]) -> Mesh:
    """The mesh whose devices share the views of one scene: the first so many that there are, or those named.

    Raises:
        ValueError: there are not so many devices, or none is named.
    """
    if is_integer(devices):
        there = jax.devices()
        if not 1 <= devices <= len(there):
            raise ValueError(f"devices is {devices}; there are {len(there)} ({there[0].platform}), so it is from 1 to {len(there)}")
        devices = there[:devices]
    if not np.iterable(devices):
        raise ValueError(f"devices is {devices!r}; it is how many, or a list such as jax.devices()[:2]")
    return make_mesh(1, view=-1, devices=devices)


def axes_for(mesh: Mesh, scenes: int) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Over which axes of a mesh so many scenes are shared, and over which the views of each.

    Scenes over `data` and `fsdp` and views over `view`; or, of fewer scenes, these over `data` and their views over all the rest, so that
    devices that split the parameters of one scene's network have views of it, too.

    Raises:
        ValueError: the mesh has other axes, or the scenes do not divide.
    """
    if not isinstance(mesh, Mesh):
        raise ValueError(f"mesh is {mesh!r}; it is a jax.sharding.Mesh, which da3jax.make_mesh makes")
    if tuple(mesh.axis_names) != AXES:
        raise ValueError(f"the mesh has the axes {mesh.axis_names}; da3jax.make_mesh makes one with {AXES}")
    if scenes % batch_parts(mesh) == 0:
        return BATCH_AXES, (VIEW_AXIS,)
    if scenes % mesh.shape["data"] == 0:
        return BATCH_AXES[:1], (BATCH_AXES[1], VIEW_AXIS)
    right = _call({"data": math.gcd(scenes, mesh.size), VIEW_AXIS: mesh.size // math.gcd(scenes, mesh.size)})
    raise ValueError(f"{scenes} scenes do not divide among the {mesh.shape['data']} parts of the mesh's data; {right} would do")


def scenes_mesh(mesh: Mesh) -> Mesh:
    """The same devices sharing scenes, and not the views of one; each has the same part of parameters as before."""
    data, fsdp, view = mesh.devices.shape
    devices = mesh.devices.transpose(0, 2, 1).reshape(data * view, fsdp, 1)
    return Mesh(devices, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Of arrays whose first axis is the scenes."""
    return NamedSharding(mesh, PartitionSpec(BATCH_AXES))


def view_sharding(mesh: Mesh, scenes: int) -> NamedSharding:
    """Of arrays whose first axes are so many scenes and their views."""
    return NamedSharding(mesh, PartitionSpec(*axes_for(mesh, scenes)))


def whole(mesh: Mesh) -> NamedSharding:
    """Of arrays that every device has."""
    return NamedSharding(mesh, PartitionSpec())


def batch_parts(mesh: Mesh) -> int:
    """Among how many parts of a mesh scenes are shared, where there are enough of them."""
    return math.prod(mesh.shape[axis] for axis in BATCH_AXES)
