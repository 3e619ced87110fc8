"""Meshes of devices, and where arrays lie on them."""

from da3jax.parallel.mesh import BATCH_AXES, batch_sharding, fsdp_shardings, make_mesh

__all__ = ["BATCH_AXES", "batch_sharding", "fsdp_shardings", "make_mesh"]
