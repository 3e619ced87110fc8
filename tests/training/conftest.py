"""Batches and steps of a tiny run."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from da3jax.parallel import batch_sharding, make_mesh
from da3jax.training.data import Batch
from da3jax.training.losses import Targets, outputs_of
from da3jax.training.optimizer import make_optimizer, split
from da3jax.training.state import init_state, state_shardings
from da3jax.training.step import make_forward, make_loss, make_train_step
from tests.training.tiny import params_of


def scenes_of(count: int, views: int = 2, height: int = 28, width: int = 42, seed: int = 0) -> Batch:
    """Slanted planes with a chequered look, seen by cameras side by side."""
    rng = np.random.default_rng(seed)
    intrinsics = np.tile(np.float32([[40, 0, width / 2], [0, 40, height / 2], [0, 0, 1]]), (count, views, 1, 1))
    extrinsics = np.tile(np.eye(3, 4, dtype=np.float32), (count, views, 1, 1))
    extrinsics[:, :, 0, 3] = -0.2 * np.arange(views)
    y, x = np.mgrid[:height, :width] + 0.5
    slope = rng.uniform(-0.3, 0.3, (count, 1, 1, 1))
    centre = -extrinsics[:, :, 0, 3][..., None, None]
    # On the plane z = 2 + slope · x, with x = centre + z · u.
    u = ((x - width / 2) / 40)[None, None]
    depth = (2 + slope * centre) / (1 - slope * u)
    world = centre + depth * u, depth * ((y - height / 2) / 40)[None, None]
    chequer = (np.floor(3 * world[0]) + np.floor(3 * world[1])) % 2
    images = np.stack([chequer, chequer * rng.uniform(size=(count, 1, 1, 1)), 1 - chequer], axis=-1).astype(np.float32)
    depth = np.broadcast_to(depth, images.shape[:-1]).astype(np.float32)
    return Batch(images, Targets(depth, depth > 0, extrinsics, intrinsics, sky=np.full(depth.shape, np.nan, np.float32)))


def write_scenes(folder, batch):
    """A folder of scenes for each scene of the batch, with depth, and cameras in files of their own."""
    targets = batch.targets
    for i, (images, depths) in enumerate(zip(batch.images, targets.depth, strict=True)):
        scene = folder / str(i)
        (scene / "images").mkdir(parents=True)
        (scene / "depth").mkdir()
        for j, (image, depth) in enumerate(zip(images, depths, strict=True)):
            Image.fromarray(np.uint8(255 * image)).save(scene / "images" / f"{j:04d}.png")
            np.save(scene / "depth" / f"{j:04d}.npy", depth)
        np.savez(scene / "cameras.npz", extrinsics=targets.extrinsics[i], intrinsics=targets.intrinsics[i])


@functools.cache
def programs(config, mesh, teach):
    """The first state of parameters, and the step, compiled once for all runs that differ in nothing that they depend on."""
    params = params_of(config.model)
    optimizer = make_optimizer(config.optimizer, split(params, config.optimizer.freeze)[0], mesh)
    shardings = state_shardings(params, optimizer, config.optimizer, mesh)
    begin = jax.jit(lambda params: init_state(params, optimizer, config.optimizer), out_shardings=shardings)
    layers = {"feature_layers": config.losses.feature_layers, "attention_layers": config.losses.attention_layers}
    forward = make_forward(config.model, mesh, remat=config.remat, outputs=outputs_of(config.losses.weights), **layers)
    if teach is True:
        teach = make_forward(config.model, mesh)
    loss = make_loss(config.model, config.losses, config.data.augment, forward, teach)
    return begin, make_train_step(loss, optimizer, config.optimizer, steps=config.steps, mesh=mesh, shardings=shardings)


class Run:
    """A state, and the step that changes it, for a configuration on a mesh."""

    def __init__(self, config, mesh=None, teacher=None, teach=True):
        """`teacher` are its parameters, and `teach` its forward pass, where that is not the network's own."""
        self.mesh = make_mesh(1, 1, devices=jax.devices()[:1]) if mesh is None else mesh
        self.config = config
        begin, self._step = programs(dataclasses.replace(config, folder="unused", seed=0), self.mesh, None if teacher is None else teach)
        self.state = begin(params_of(config.model))
        self._teacher = teacher

    def step(self, batch):
        """What is logged, as numbers."""
        batch = jax.tree.map(lambda x: jax.device_put(jnp.asarray(x), batch_sharding(self.mesh)), batch)
        self.state, metrics = self._step(self.state, batch, jax.random.key(self.config.seed), self._teacher)
        return {name: float(value) for name, value in jax.device_get(metrics).items()}


@pytest.fixture(scope="session")
def scenes():
    return scenes_of


@pytest.fixture(scope="session", name="write_scenes")
def _write_scenes():
    return write_scenes


@pytest.fixture(scope="session")
def make_run():
    return Run
