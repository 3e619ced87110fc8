import numpy as np
import pytest

from da3jax.outputs.thinning import choose_pixels, thin_by_voxels


def test_every_pixel_has_the_same_chance():
    keep = np.random.default_rng(0).random((3, 4, 6)) > np.array([0.2, 0.5, 0.9])[:, None, None]
    counts, rounds, most = np.zeros((3, 24)), 3000, 7
    for seed in range(rounds):
        chosen = list(choose_pixels(keep, most, seed))
        assert sum(map(len, chosen)) == most
        for view, pixels in enumerate(chosen):
            assert len(np.unique(pixels)) == len(pixels)
            counts[view, pixels] += 1
    counts = counts.reshape(keep.shape)
    assert (counts[~keep] == 0).all()
    chance = most / keep.sum()
    deviation = np.sqrt(rounds * chance * (1 - chance))
    assert np.abs(counts[keep] - rounds * chance).max() < 4 * deviation


def surface(count, seed=0):
    """A wavy sheet whose far end is a hundred times as sparse as the near one."""
    rng = np.random.default_rng(seed)
    x, z = rng.uniform(-1, 1, count), np.exp(rng.uniform(0, 3, count))
    return np.stack([x * z, 0.1 * np.sin(3 * x * z), z], axis=-1)


def test_no_more_points_than_asked_for_and_hardly_fewer():
    points = surface(20_000)
    for most in (10_000, 3000, 500):
        chosen = thin_by_voxels(points, most)
        assert 0.97 * most <= len(chosen) <= most
        assert (np.diff(chosen) > 0).all()
    assert len(thin_by_voxels(points, 1)) == 1


def test_as_many_points_as_there_may_be_all_stay():
    np.testing.assert_array_equal(thin_by_voxels(surface(70), 70), np.arange(70))


def test_each_cube_keeps_the_point_nearest_to_the_mean_of_its_points():
    corners = np.array([(x, y, z) for x in (0, 7) for y in (0, 7) for z in (0, 7)], float)
    cluster = np.array([[0, 0, 0], [0.2, 0.1, 0], [0.1, 0.1, 0.02], [0.3, 0.2, 0.1]])  # mean (0.15, 0.1, 0.03)
    points = (corners[:, None] + cluster).reshape(-1, 3)
    np.testing.assert_array_equal(thin_by_voxels(points, 8), 4 * np.arange(8) + 2)


def test_neither_the_order_nor_the_origin_of_the_points_matters():
    points = surface(5000)
    expected = points[thin_by_voxels(points, 1000)]
    order = np.random.default_rng(1).permutation(5000)
    shuffled = points[order]
    again = shuffled[thin_by_voxels(shuffled, 1000)]
    np.testing.assert_array_equal(np.sort(again, axis=0), np.sort(expected, axis=0))
    step = np.array([1024.0, -4096, 64])
    np.testing.assert_allclose((points + step)[thin_by_voxels(points + step, 1000)], expected + step, atol=1e-9)


def test_no_view_is_preferred_where_two_have_seen_the_same():
    """Twice the same sheet, with noise of its own: each gives its half, which the first come, or the last, would not."""
    sheet = surface(4000)
    rng = np.random.default_rng(2)
    points = np.concatenate([sheet + rng.normal(0, 1e-3, sheet.shape), sheet + rng.normal(0, 1e-3, sheet.shape)])
    chosen = thin_by_voxels(points, 2000)
    assert abs(np.count_nonzero(chosen < 4000) - 1000) < 4 * np.sqrt(500)


def test_density_becomes_even():
    points = surface(20_000)
    chosen = points[thin_by_voxels(points, 1000)]
    near, far = (np.count_nonzero((chosen[:, 2] > low) & (chosen[:, 2] < low + 2)) / (low + 1) for low in (4, 14))
    assert near / far == pytest.approx(1, abs=0.25)  # a random choice has 2.8 times as many near


@pytest.mark.parametrize("most", [1, 3])
def test_points_all_in_one_place_become_one(most):
    assert len(thin_by_voxels(np.full((50, 3), 2.5), most)) == 1


def test_a_stray_point_far_away_does_not_make_the_grid_coarse():
    points = np.concatenate([surface(5000), [[1e9, 1e9, -1e9]]])
    chosen = thin_by_voxels(points, 1000)
    assert 950 <= len(chosen) <= 1000
    assert chosen[-1] == 5000
