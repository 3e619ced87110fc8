"""The network on many devices: scenes over the batch axes of a mesh, the views of a scene over `view`."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.sharding import Mesh, PartitionSpec

from da3jax.parallel import BATCH_AXES, VIEW_AXIS, batch_parts
from da3jax.types import NetworkOutput, Params


def apply_on_mesh(
    network: nn.Module,
    params: Params,
    images: jax.Array,
    extrinsics: jax.Array | None,
    intrinsics: jax.Array | None,
    *,
    mesh: Mesh,
    conditioned: jax.Array | None = None,
    view_mask: jax.Array | None = None,
    **options: Any,
) -> NetworkOutput:
    """What `network`, whose `view_axis` is `VIEW_AXIS`, gives for arguments as `da3jax.forward` takes them.

    Every device has all parameters, and of images and all that is as large its own views. Those tell each other keys and values, block by
    block, and what is small: class tokens for the choice of the reference view, known cameras, and depth where sky is filled. Views that
    do not divide are filled up with masked ones.

    Raises:
        ValueError: scenes that do not divide among the devices that share them.
    """
    scenes, views = images.shape[:2]
    scene_parts, view_parts = batch_parts(mesh), mesh.shape[VIEW_AXIS]
    if scenes % scene_parts:
        raise ValueError(f"{scenes} scenes do not divide among the {scene_parts} parts of the mesh's {' × '.join(BATCH_AXES)}")
    if missing := -views % view_parts:
        if view_mask is None:
            view_mask = jnp.ones((scenes, views), bool)
        view_mask = jnp.pad(view_mask, ((0, 0), (0, missing)))
        images, extrinsics, intrinsics = jax.tree.map(  # the last view again: something finite
            lambda x: jnp.pad(x, ((0, 0), (0, missing), *((0, 0),) * (x.ndim - 2)), mode="edge"), (images, extrinsics, intrinsics)
        )

    def run(params: Params, images: jax.Array, cameras: tuple, conditioned: jax.Array | None, view_mask: jax.Array | None) -> NetworkOutput:
        return network.apply({"params": params}, images, *cameras, conditioned=conditioned, view_mask=view_mask, **options)

    of_scenes, of_views = PartitionSpec(BATCH_AXES), PartitionSpec(BATCH_AXES, VIEW_AXIS)
    specs = (PartitionSpec(), of_views, of_views, of_scenes, of_views)
    # Not left to the partitioner, which does not see through the loops over views and heads, and would gather queries too.
    sharded = jax.shard_map(run, mesh=mesh, in_specs=specs, out_specs=of_views, check_vma=False)
    output = sharded(params, images, (extrinsics, intrinsics), conditioned, view_mask)
    return jax.tree.map(lambda x: x[:, :views], output) if missing else output
