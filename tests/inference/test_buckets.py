"""Scenes that are filled up to a size that one program serves: the result is that of the scene alone."""

from functools import partial

import jax
import numpy as np
import pytest

from da3jax.geometry import rotation_from_axis_angle
from da3jax.inference.buckets import bucket
from da3jax.inference.program import KnownCameras, Task, run
from tests.quick import quick_jit

SIZE = 56


def close(found, expected, tolerance=1e-5):
    """Whether two trees are the same to rounding, relative to the largest number of each leaf."""
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(x, y, rtol=tolerance, atol=tolerance * np.abs(y).max())


def test_buckets_are_powers_of_two_and_the_middle_between_them():
    assert [bucket(views) for views in range(1, 18)] == [1, 2, 3, 4, 6, 6, 8, 8, 12, 12, 12, 12, 16, 16, 16, 16, 24]
    sizes = [bucket(views) for views in range(1, 1001)]
    assert len(set(sizes)) == 20
    assert max(1 - views / size for views, size in enumerate(sizes, 1)) < 1 / 3


@pytest.fixture(scope="module")
def five(images):
    rng = np.random.default_rng(1)
    return [*images, *(rng.integers(0, 256, (60, 80, 3), dtype=np.uint8) for _ in range(2))]


def test_five_views_in_a_program_for_six_are_five_views(model, five):
    outputs = ["depth", "cameras"]
    alone = type(model)(model.params, model.config)
    alone.bucket_views = False
    expected, found = (m.inference(five, process_res=SIZE, outputs=outputs) for m in (alone, model))
    assert found.depth.shape == (5, 42, 56)
    close(found, expected)
    again = model.inference(five, process_res=SIZE, outputs=outputs)
    for x, y in zip(jax.tree.leaves(found), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(x, y)
    left_there = model.inference(five, process_res=SIZE, outputs=outputs, as_numpy=False)
    assert all(isinstance(x, jax.Array) for x in (left_there.depth, left_there.extrinsics))
    close(left_there, found, 0)


def programs(model, images, known, task, count):
    """`run` for the first `count` of the images, and with the rest masked."""
    compiled = quick_jit(partial(run, config=model.config, dtype="float32", task=task))
    first, mask = jax.tree.map(lambda x: x[:, :count], (images, known)), (np.arange(images.shape[1]) < count)[None]
    return jax.device_get((compiled(model.params, *first, None), compiled(model.params, images, known, mask)))


def noise(views):
    return np.random.default_rng(3).standard_normal((1, views, 28, 42, 3), dtype=np.float32)


def known_cameras(views):
    rng = np.random.default_rng(0)
    turns = np.asarray(rotation_from_axis_angle(0.3 * rng.standard_normal((views, 3))), np.float64)
    turns = np.linalg.qr(turns)[0] * np.sign(np.linalg.det(np.linalg.qr(turns)[0]))[:, None, None]
    return np.concatenate([turns, 2 * rng.standard_normal((views, 3, 1))], axis=-1)[None]


@pytest.mark.integration
def test_a_nested_network_takes_its_scale_and_its_sky_from_real_views(nested):
    task = Task(("depth", "cameras", "sky", "metric_depth"))
    expected, found = programs(nested, noise(4), KnownCameras(), task, 3)
    close(found.first(3), expected)
    assert expected.scale.determined.all()


@pytest.mark.integration
def test_known_cameras_condition_and_align_as_without_the_masked_views(model):
    intrinsics = np.tile(np.float32([[40, 0, 21], [0, 40, 14], [0, 0, 1]]), (1, 4, 1, 1))
    known = KnownCameras.of(known_cameras(4), intrinsics)
    expected, found = programs(model, noise(4), known, Task(("depth", "cameras"), conditioned=True), 3)
    close(found.first(3), expected, 1e-4)  # the alignment multiplies rounding
    np.testing.assert_array_equal(found.alignment.inliers, [[True, True, True, False]])
