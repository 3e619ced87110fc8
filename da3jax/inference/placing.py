"""Arguments of a program onto the devices of a mesh, and its results back, in one process and in several."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import numpy as np
from jax import lax
from jax.sharding import Mesh, PartitionSpec

from da3jax.parallel import all_views, axes_for, view_sharding, whole
from da3jax.types import Params

AT_A_TIME = 2**26
"""Bytes of a result that devices tell each other at a time, for each then holds all of them."""


def check_mesh(mesh: Mesh) -> None:
    """Raises a ValueError for a mesh that one scene cannot be shared on."""
    axes_for(mesh, mesh.size)  # its axes
    if mesh.shape["data"] > 1:
        fsdp = mesh.shape["fsdp"]
        right = f"make_mesh(1, view={mesh.size})" if fsdp == 1 else f"make_mesh(1, fsdp={fsdp}, view={mesh.size // fsdp})"
        raise ValueError(f"the mesh {dict(mesh.shape)} shares scenes, and inference has one, whose views are shared along `view`: {right}")
    if jax.process_count() == 1:  # also for devices that are only planned for, on hosts that are not here
        return
    processes = {process: 0 for process in range(jax.process_count())}
    for device in mesh.devices.flat:
        processes[device.process_index] += 1
    if len(set(processes.values())) > 1:
        raise ValueError(
            f"the mesh has {', '.join(map(str, processes.values()))} devices of processes 0 to {jax.process_count() - 1}; "
            f"it has as many of each: make_mesh(1, view={jax.device_count()}) has all"
        )


def own_rows(rows: np.ndarray, mesh: Mesh) -> list[int]:
    """Those of `rows` (scenes, views) that devices of this process see."""
    places = view_sharding(mesh, len(rows)).addressable_devices_indices_map(rows.shape)
    return sorted({row for place in places.values() for row in rows[place].ravel().tolist()})


def put_views(pick: Callable[[tuple[slice, ...]], Any], shape: tuple[int, int], mesh: Mesh) -> Any:
    """Arrays (scenes, views, …) on the mesh, `shape` being their first axes; `pick` gives what is at the place of a device."""
    sharding = view_sharding(mesh, shape[0])
    places = sharding.addressable_devices_indices_map(shape)
    # A device at a time: no more than its own views are there twice.
    parts = [jax.tree.map(lambda x, device=device: jax.device_put(x, device), pick(place)) for device, place in places.items()]

    def together(*parts: jax.Array) -> jax.Array:
        return jax.make_array_from_single_device_arrays((*shape, *parts[0].shape[2:]), sharding, list(parts))

    return jax.tree.map(together, *parts)


def fetch(tree: Any, mesh: Mesh | None) -> Any:
    """The arrays as numpy's, those of (scenes, views, …) and of (scenes,) that several processes have put together."""
    if jax.process_count() == 1 or mesh is None:
        return jax.device_get(tree)
    return jax.tree.map(partial(_fetch, mesh=mesh), tree)


def _fetch(x: jax.Array, mesh: Mesh) -> np.ndarray:
    if x.is_fully_replicated:
        return np.asarray(x)
    if x.ndim == 1:
        return np.asarray(jax.jit(lambda x: x, out_shardings=whole(mesh))(x))
    scene_axes, view_axes = axes_for(mesh, x.shape[0])
    dim = 1 if x.shape[1] > 1 else 0
    axes = (scene_axes, view_axes)[dim]
    parts = math.prod(mesh.shape[axis] for axis in axes)
    own = x.shape[dim] // parts
    step = max(1, min(own, AT_A_TIME * x.shape[dim] // (x.nbytes * parts)))
    starts = [min(start, own - step) for start in range(0, own, step)]
    out = np.empty((parts, own, *x.shape[:dim], *x.shape[dim + 1 :]), x.dtype)
    for start in starts:
        some = np.asarray(_some_of_each(x, start, mesh=mesh, dim=dim, step=step))  # (…, parts · step, …)
        some = np.moveaxis(some, dim, 0)
        out[:, start : start + step] = some.reshape(parts, step, *some.shape[1:])
    return np.moveaxis(out.reshape(-1, *out.shape[2:]), 0, dim)


@partial(jax.jit, static_argnames=("mesh", "dim", "step"))
def _some_of_each(x: jax.Array, start: jax.Array, *, mesh: Mesh, dim: int, step: int) -> jax.Array:
    """`step` views, or scenes, of each device, on all of them."""
    scene_axes, view_axes = axes_for(mesh, x.shape[0])
    axes = (scene_axes, view_axes)[dim]
    spec = PartitionSpec(scene_axes, view_axes)

    def some(x: jax.Array, start: jax.Array) -> jax.Array:
        return all_views(lax.dynamic_slice_in_dim(x, start, step, dim), axes, dim)

    return jax.shard_map(some, mesh=mesh, in_specs=(spec, PartitionSpec()), out_specs=PartitionSpec(), check_vma=False)(x, start)


def placed(params: Params, shardings: Any) -> Params:
    """The parameters where the shardings say; of shapes, shapes that are there."""
    if any(isinstance(leaf, jax.ShapeDtypeStruct) for leaf in jax.tree.leaves(params)):
        return jax.tree.map(lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), params, shardings)
    return jax.device_put(params, shardings)
