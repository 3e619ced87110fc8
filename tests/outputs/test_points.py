import numpy as np
import pytest

from da3jax.outputs import ExportOptions
from da3jax.outputs.points import diagonal, float32_origin, world_points


def points_of(prediction, keep=None, **options):
    keep = np.ones(prediction.depth.shape, bool) if keep is None else keep
    extrinsics = np.tile(np.eye(4), (2, 1, 1))
    extrinsics[:, :3] = prediction.extrinsics
    return world_points(prediction, keep, prediction.intrinsics.astype(np.float64), extrinsics, ExportOptions(**options))


def test_points_lie_on_the_surface_seen_in_the_order_of_the_pixels(scene):
    prediction, expected = scene
    keep = np.random.default_rng(0).random((2, 20, 30)) > 0.3
    points, colours = points_of(prediction, keep)
    assert points.dtype == np.float64
    np.testing.assert_allclose(points, expected[keep], atol=2e-6)
    np.testing.assert_array_equal(colours, prediction.processed_images[keep])


@pytest.mark.parametrize("thinning", ["voxel", "random"])
def test_thinned_points_are_some_of_all_with_their_own_colours(prediction, thinning):
    every, colours = points_of(prediction)
    whole = dict(zip(map(tuple, every), map(tuple, colours), strict=True))
    some, colours = points_of(prediction, num_max_points=300, thinning=thinning)
    assert 285 <= len(some) <= 300
    assert all(whole[tuple(point)] == tuple(colour) for point, colour in zip(some, colours, strict=True))


def test_the_seed_draws_the_random_choice_and_no_other(prediction):
    by_seed = [points_of(prediction, num_max_points=300, thinning="random", seed=seed)[0] for seed in (0, 0, 1)]
    np.testing.assert_array_equal(by_seed[0], by_seed[1])
    assert (by_seed[0] != by_seed[2]).any()
    np.testing.assert_array_equal(points_of(prediction, num_max_points=300)[0], points_of(prediction, num_max_points=300, seed=1)[0])


def test_voxels_choose_among_a_bounded_number_of_pixels(prediction):
    assert 1 <= len(points_of(prediction, num_max_points=10)[0]) <= 10


def test_without_any_pixel_there_are_no_points(prediction):
    points, colours = points_of(prediction, np.zeros((2, 20, 30), bool))
    assert points.shape == colours.shape == (0, 3)


def test_the_diagonal_leaves_out_what_is_far_off_and_is_never_zero():
    line = np.stack([np.linspace(0, 10, 101), np.zeros(101), np.zeros(101)], axis=-1)
    assert diagonal(line) == pytest.approx(9)
    line[-1] = 1e6
    assert diagonal(line) == pytest.approx(9)
    assert diagonal(np.ones((5, 3))) == diagonal(np.zeros((0, 3))) == 1


def test_float32_begins_elsewhere_only_where_it_has_to(scene):
    _, points = scene
    points = points.reshape(-1, 3)
    np.testing.assert_array_equal(float32_origin(points), 0)
    np.testing.assert_array_equal(float32_origin(points[:0]), 0)
    far = points + np.array([4e5, 5e6, 100.0])
    origin = float32_origin(far)
    np.testing.assert_array_equal(origin, np.round(origin))
    assert np.abs((far - origin).astype(np.float32) + origin - far).max() < 1e-6 * diagonal(points)
    small = 1e-4 * points + np.array([0.4, -0.4, 0.45])  # nearer to the origin than half a unit
    small = small + 0.2 * diagonal(small) * np.eye(3)[0]
    origin = float32_origin(small)
    assert origin.any()
    assert np.abs((small - origin).astype(np.float32) + origin - small).max() < 1e-6 * diagonal(small)
