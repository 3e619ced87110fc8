"""Meshes of devices, where arrays lie on them, and what devices tell each other."""

from da3jax.parallel.mesh import BATCH_AXES, VIEW_AXIS, batch_parts, batch_sharding, fsdp_shardings, make_mesh, view_sharding, whole
from da3jax.parallel.views import all_views, own_views

__all__ = [
    "BATCH_AXES",
    "VIEW_AXIS",
    "all_views",
    "batch_parts",
    "batch_sharding",
    "fsdp_shardings",
    "make_mesh",
    "own_views",
    "view_sharding",
    "whole",
]
