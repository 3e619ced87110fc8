"""Procedural scenes: workers pass on seeds, the device renders."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np

from da3jax.geometry import compose_rigid, invert_rigid
from da3jax.training.data.batch import Batch, PlannedBatch
from da3jax.training.losses.targets import Targets
from da3jax.training.scenes import CameraRanges, sample_views


def scene_seed(entropy: tuple[int, ...]) -> np.ndarray:
    """(2,) uint32 key data from any numbers."""
    return np.random.SeedSequence(entropy).generate_state(2)


def realise(batch: Batch | PlannedBatch, sharding: jax.sharding.Sharding | None = None) -> Batch:
    """The batch on the device: loaded arrays are put there, procedural scenes are rendered there.

    Rendering compiles once for each (B, S, H, W) and source.

    Args:
        batch: this process's rows, as `Loaded.batch`.
        sharding: of the scenes' axis over the devices of all processes; each device then renders its own scenes, and the result is the
            global batch. None: the default device.
    """
    if isinstance(batch, Batch):
        return jax.tree.map(lambda x: _put(x, sharding), batch)
    config = batch.config
    return _render(_put(batch.seeds, sharding), batch.views, batch.height, batch.width, config.ranges, config.samples)


def _put(array: np.ndarray, sharding: jax.sharding.Sharding | None) -> jax.Array:
    if sharding is None:
        return jnp.asarray(array)
    return jax.make_array_from_process_local_data(sharding, array)


@functools.partial(jax.jit, static_argnums=(1, 2, 3, 4, 5))
def _render(seeds: jax.Array, views: int, height: int, width: int, ranges: CameraRanges, samples: int) -> Batch:
    keys = jax.random.wrap_key_data(seeds, impl="threefry2x32")
    drawn = jax.vmap(lambda key: sample_views(key, views, height, width, ranges=ranges, samples=samples))(keys)
    # Scenes lie around the origin: float32 loses nothing here.
    first = jnp.broadcast_to(invert_rigid(drawn.extrinsics[:, :1]), drawn.extrinsics.shape)
    extrinsics = compose_rigid(drawn.extrinsics, first)
    return Batch(drawn.images, Targets(drawn.depth, ~drawn.sky, extrinsics, drawn.intrinsics, sky=drawn.sky.astype(jnp.float32)))
