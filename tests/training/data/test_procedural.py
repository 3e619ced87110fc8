"""Planned procedural scenes become batches on the device, the same ones on any devices."""

import concurrent.futures
import dataclasses
import time

import jax
import numpy as np
import pytest

from da3jax.geometry import project, unproject
from da3jax.training.data import Batch, PlannedBatch, ProceduralConfig, procedural, realise
from da3jax.training.data.procedural import scene_seed
from da3jax.training.losses import Targets

HEIGHT, WIDTH = 28, 42
SEEDS = np.stack([scene_seed((0, place)) for place in (0, 1, 2, 0, 3, 8, 10, 15)])


@pytest.fixture(scope="module")
def sharding():
    mesh = jax.make_mesh((2,), ("data",), axis_types=(jax.sharding.AxisType.Auto,))
    return jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("data"))


@pytest.fixture(scope="module")
def batch(sharding):
    """Scenes 0, 1, 2, again 0, and four others, of three views, over two devices."""
    return realise(PlannedBatch(SEEDS, 3, HEIGHT, WIDTH, ProceduralConfig()), sharding)


def test_each_device_has_its_scenes(batch, sharding):
    for array in jax.tree.leaves(batch):
        assert array.sharding.is_equivalent_to(sharding, array.ndim)


def test_a_seed_makes_a_scene_wherever_it_is_rendered(batch):
    batch = jax.tree.map(np.asarray, batch)
    for array in jax.tree.leaves(batch):
        assert np.array_equal(array[0], array[3])
    assert np.abs(batch.images[0] - batch.images[1]).mean() > 0.02
    assert np.abs(batch.images[1] - batch.images[2]).mean() > 0.02


@pytest.mark.integration
def test_views_are_in_random_order_unless_asked_for_in_that_of_their_path(batch, sharding):
    ordered = realise(PlannedBatch(SEEDS, 3, HEIGHT, WIDTH, ProceduralConfig(in_order=True)), sharding)
    shuffled, ordered = (np.asarray(x.images) for x in (batch, ordered))
    orders = [[int(np.abs(ordered[i] - view).mean(axis=(1, 2, 3)).argmin()) for view in shuffled[i]] for i in range(len(SEEDS))]
    for i, order in enumerate(orders):
        np.testing.assert_allclose(shuffled[i], ordered[i][order], atol=1e-3)
    assert {order[0] for order in orders} == {0, 1, 2}


def test_truth_is_complete_and_in_the_first_views_frame(batch):
    targets = batch.targets
    np.testing.assert_allclose(targets.extrinsics[:, 0], np.broadcast_to(np.eye(3, 4), (len(SEEDS), 3, 4)), atol=1e-5)
    assert np.array_equal(targets.mask, np.asarray(targets.depth) > 0)
    assert np.array_equal(targets.sky == 1, ~np.asarray(targets.mask))
    assert targets.sky.dtype == batch.images.dtype == np.float32
    assert np.min(batch.images) >= 0
    assert np.max(batch.images) <= 1
    # What the first view sees and the second does, too, has there about the depth that is rendered.
    points = unproject(targets.depth[:, :1], targets.intrinsics[:, :1], targets.extrinsics[:, :1])
    pixel, depth = (np.asarray(x)[:, 0] for x in project(points, targets.extrinsics[:, 1:2], targets.intrinsics[:, 1:2]))
    column, row = np.floor(pixel[..., 0]).astype(int), np.floor(pixel[..., 1]).astype(int)
    inside = (row >= 0) & (row < HEIGHT) & (column >= 0) & (column < WIDTH) & (depth > 0) & np.asarray(targets.mask[:, 0])
    scene = np.broadcast_to(np.arange(len(SEEDS))[:, None, None], row.shape)[inside]
    ratio = np.asarray(targets.depth)[scene, 1, row[inside], column[inside]] / depth[inside]
    assert np.abs(np.median(ratio) - 1) < 0.01
    assert np.mean(np.abs(ratio - 1) < 0.1) > 0.5


def test_loaded_arrays_are_placed_likewise(sharding):
    rng = np.random.default_rng(0)
    depth = rng.random((4, 2, 14, 14), np.float32)
    targets = Targets(depth, depth > 0.1, np.zeros((4, 2, 3, 4), np.float32), np.zeros((4, 2, 3, 3), np.float32), sky=depth)
    loaded = Batch(rng.integers(0, 256, (4, 2, 14, 14, 3), np.uint8), targets)
    for placed in (realise(loaded), realise(loaded, sharding)):
        assert all(isinstance(array, jax.Array) for array in jax.tree.leaves(placed))
        jax.tree.map(np.testing.assert_array_equal, loaded, placed)
    assert placed.images.sharding.is_equivalent_to(sharding, 5)
    assert dataclasses.is_dataclass(placed.targets)


def test_of_several_threads_one_compiles_and_the_others_wait(monkeypatch):
    drawing, at_once = [], []

    def draw(seeds, *rest):
        drawing.append(seeds)
        at_once.append(len(drawing))
        time.sleep(0.05)  # long enough for the others to come
        drawing.pop()
        return seeds, seeds

    monkeypatch.setattr(procedural, "_draw", draw)
    monkeypatch.setattr(procedural, "_render", lambda seeds, *rest: seeds)
    monkeypatch.setattr(procedural, "_compiled", set())
    planned = PlannedBatch(np.zeros((1, 2), np.uint32), 2, HEIGHT, WIDTH, ProceduralConfig())
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        first = [pool.submit(realise, planned) for _ in range(4)]
        concurrent.futures.wait(first)
        assert at_once == [1] * 4
        again = [pool.submit(realise, planned) for _ in range(4)]
        concurrent.futures.wait(again)
    assert max(at_once) > 1  # what is compiled is drawn by all at a time
