"""The network on many devices: scenes over the batch axes of a mesh, the views of a scene over `view`."""

from __future__ import annotations

import math
import re
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax.sharding import Mesh, PartitionSpec

from da3jax.parallel import as_parts, axes_for, fsdp_shardings
from da3jax.types import NetworkOutput, Params

_BLOCK = re.compile(r"\bbackbone/(blocks|segment)_\d+/")


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
    """What `network` gives for arguments as `da3jax.forward` takes them.

    A device has its own views of images and all that is as large. Views tell each other keys and values, block by block, and what is small:
    class tokens for the choice of the reference view, known cameras, and depth where sky is filled. Those that do not divide are filled up
    with masked ones. Parameters that are split over `fsdp` are put together a block of the backbone at a time.

    Raises:
        ValueError: scenes that do not divide among the devices that share them, or a mesh with other axes than ours.
    """
    scenes, views = images.shape[:2]
    scene_axes, view_axes = axes_for(mesh, scenes)
    if missing := -views % math.prod(mesh.shape[axis] for axis in view_axes):
        if view_mask is None:
            view_mask = jnp.ones((scenes, views), bool)
        view_mask = jnp.pad(view_mask, ((0, 0), (0, missing)))
        images, extrinsics, intrinsics = jax.tree.map(  # the last view again: something finite
            lambda x: jnp.pad(x, ((0, 0), (0, missing), *((0, 0),) * (x.ndim - 2)), mode="edge"), (images, extrinsics, intrinsics)
        )
    network = network.clone(view_axis=tuple(axis for axis in view_axes if mesh.shape[axis] > 1) or None)
    param_specs = jax.tree.map(lambda sharding: sharding.spec, fsdp_shardings(params, mesh))

    def run(params: Params, images: jax.Array, cameras: tuple, conditioned: jax.Array | None, view_mask: jax.Array | None) -> NetworkOutput:
        params = as_parts(params, param_specs, later=_BLOCK.search)
        return network.apply({"params": params}, images, *cameras, conditioned=conditioned, view_mask=view_mask, **options)

    of_scenes, of_views = PartitionSpec(scene_axes), PartitionSpec(scene_axes, view_axes)
    specs = (param_specs, of_views, of_views, of_scenes, of_views)
    # Not left to the partitioner, which does not see through the loops over views and heads, and would gather queries too.
    sharded = jax.shard_map(run, mesh=mesh, in_specs=specs, out_specs=of_views, check_vma=False)
    output = sharded(params, images, (extrinsics, intrinsics), conditioned, view_mask)
    return jax.tree.map(lambda x: x[:, :views], output) if missing else output
