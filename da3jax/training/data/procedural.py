"""Procedural scenes: workers pass on seeds, the host's processor draws scenes and cameras, the devices render."""

from __future__ import annotations

import contextlib
import functools
import threading
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from da3jax.geometry import compose_rigid, invert_rigid
from da3jax.training.data.batch import Batch, PlannedBatch
from da3jax.training.losses.targets import Targets
from da3jax.training.scenes import CameraRanges, Cameras, Scene, host_device, render, sample_scene_and_cameras

_compiling, _compiled = threading.Lock(), set()
"""JAX does not wait for a program that another thread compiles, but compiles it again."""


def scene_seed(entropy: tuple[int, ...]) -> np.ndarray:
    """(2,) uint32 key data from any numbers."""
    return np.random.SeedSequence(entropy).generate_state(2)


class Drawn(NamedTuple):
    """Procedural scenes on the host, as the devices render them."""

    scene: Scene
    cameras: Cameras
    height: int
    width: int
    samples: int


def realise(batch: Batch | PlannedBatch, sharding: jax.sharding.Sharding | None = None) -> Batch:
    """The batch on the device: loaded arrays are put there, procedural scenes are drawn here and rendered there.

    Drawing and rendering compile once for each (B, S, H, W) and source.

    Args:
        batch: this process's rows, as `Loaded.batch`.
        sharding: of the scenes' axis over the devices of all processes; each device then renders its own scenes, and the result is the
            global batch. None: the default device.
    """
    return place(draw(batch), sharding)


def draw(batch: Batch | PlannedBatch) -> Batch | Drawn:
    """The part of `realise` that the host does: scenes drawn, loaded arrays as they are. Nothing of it lies on an accelerator.

    Several threads may call it: one of them compiles.
    """
    if isinstance(batch, Batch):
        return batch
    config = batch.config
    program = len(batch.seeds), batch.views, batch.height, batch.width, config
    with contextlib.nullcontext() if program in _compiled else _compiling:
        seeds = jax.device_put(batch.seeds, host_device())
        drawn = jax.device_get(_draw(seeds, batch.views, batch.height, batch.width, config.ranges, config.in_order))
        _compiled.add(program)
    return Drawn(*drawn, batch.height, batch.width, config.samples)


def place(drawn: Batch | Drawn, sharding: jax.sharding.Sharding | None = None) -> Batch:
    """The rest of `realise`, which takes the same `sharding`: what `draw` gave, put on the devices, scenes rendered there."""
    if isinstance(drawn, Batch):
        return jax.tree.map(lambda x: _put(x, sharding), drawn)
    scene, cameras = jax.tree.map(lambda x: _put(x, sharding), (drawn.scene, drawn.cameras))
    return _render(scene, cameras, drawn.height, drawn.width, drawn.samples)


def _put(array: np.ndarray, sharding: jax.sharding.Sharding | None) -> jax.Array:
    if sharding is None:
        return jnp.asarray(array)
    return jax.make_array_from_process_local_data(sharding, array)


@functools.partial(jax.jit, static_argnums=(1, 2, 3, 4, 5))
def _draw(seeds: jax.Array, views: int, height: int, width: int, ranges: CameraRanges, in_order: bool) -> tuple[Scene, Cameras]:
    def draw(key: jax.Array) -> tuple[Scene, Cameras]:
        scene, cameras = sample_scene_and_cameras(key, views, height, width, ranges=ranges)
        if in_order:
            return scene, cameras
        order = jax.random.permutation(jax.random.fold_in(key, views), views)
        return scene, jax.tree.map(lambda x: x[order], cameras)

    return jax.vmap(draw)(jax.random.wrap_key_data(seeds, impl="threefry2x32"))


@functools.partial(jax.jit, static_argnums=(2, 3, 4))
def _render(scene: Scene, cameras: Cameras, height: int, width: int, samples: int) -> Batch:
    drawn = jax.vmap(lambda scene, cameras: render(scene, cameras, height, width, samples=samples))(scene, cameras)
    # Scenes lie around the origin: float32 loses nothing here.
    first = jnp.broadcast_to(invert_rigid(drawn.extrinsics[:, :1]), drawn.extrinsics.shape)
    extrinsics = compose_rigid(drawn.extrinsics, first)
    return Batch(drawn.images, Targets(drawn.depth, ~drawn.sky, extrinsics, drawn.intrinsics, sky=drawn.sky.astype(jnp.float32)))
