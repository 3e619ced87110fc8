"""Meshes of devices, where arrays lie on them, and what devices tell each other."""

from da3jax.parallel.fsdp import Part, as_parts, fsdp_sharding, fsdp_shardings, has_parts, put_together
from da3jax.parallel.mesh import (
    BATCH_AXES,
    COPY_AXES,
    VIEW_AXIS,
    axes_for,
    batch_parts,
    batch_sharding,
    make_mesh,
    mesh_of,
    scenes_mesh,
    view_sharding,
    whole,
)
from da3jax.parallel.processes import initialize
from da3jax.parallel.ring import ring_attention, ring_is_better
from da3jax.parallel.views import Axis, all_views, own_views

__all__ = [
    "BATCH_AXES",
    "COPY_AXES",
    "VIEW_AXIS",
    "Axis",
    "Part",
    "all_views",
    "as_parts",
    "axes_for",
    "batch_parts",
    "batch_sharding",
    "fsdp_sharding",
    "fsdp_shardings",
    "has_parts",
    "initialize",
    "make_mesh",
    "mesh_of",
    "own_views",
    "put_together",
    "ring_attention",
    "ring_is_better",
    "scenes_mesh",
    "view_sharding",
    "whole",
]
