"""What devices that share the views of a scene tell each other: functions for inside `jax.shard_map`, `axis` being the mesh's.

Where `axis` is None a device has all views, and nothing is told.
"""

from __future__ import annotations

import jax
from jax import lax

Axis = str | tuple[str, ...]
"""One axis of a mesh, or several that count as one."""


def all_views(x: jax.Array, axis: Axis | None, dim: int = 1) -> jax.Array:
    """The views of all devices along `dim`, of those of this one."""
    return x if axis is None else lax.all_gather(x, axis, axis=dim, tiled=True)


def own_views(x: jax.Array, axis: Axis | None, dim: int = 1) -> jax.Array:
    """This device's part of all views along `dim`."""
    if axis is None:
        return x
    size = x.shape[dim] // lax.axis_size(axis)
    return lax.dynamic_slice_in_dim(x, lax.axis_index(axis) * size, size, dim)
