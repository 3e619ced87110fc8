"""Views of planes and of edges whose every pixel is known, at another size."""

import numpy as np
import pytest

from da3jax.inference.upsampling import METHODS, upsample

SMALL, LARGE = (14, 28), (60, 100)
TO_SMALL = np.diag([SMALL[1] / LARGE[1], SMALL[0] / LARGE[0], 1.0])


def centres(size, change=None):
    """Columns and rows (H, W) of the pixels' centres, in the processed image's pixels."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    return (x, y) if change is None else (change[0, 0] * x + change[0, 2], change[1, 1] * y + change[1, 2])


def plane(x, y, slope=(0.01, -0.02)):
    return (1 / (0.5 + slope[0] * x + slope[1] * y)).astype(np.float32)


def two_walls(x, y):
    """Near and red to the left of a slanted edge, far and blue to its right; and whether a place is right of it."""
    right = x + 0.3 * y > 15.2
    colours = np.where(right[..., None], np.uint8([30, 40, 220]), np.uint8([200, 60, 50]))
    return np.where(right, np.float32(6), np.float32(2)), colours, right


@pytest.mark.parametrize("method", ["edge_aware", "bilinear"])
@pytest.mark.parametrize("slope", [(0.01, -0.02), (0.2, 0.1), (-0.015, 0)])  # the last ones change by a tenth and more from pixel to pixel
def test_a_plane_stays_a_plane_up_to_the_border(method, slope):
    depth, conf, sky = upsample(plane(*centres(SMALL), slope), None, None, None, None, TO_SMALL, LARGE, method)
    np.testing.assert_allclose(depth, plane(*centres(LARGE, TO_SMALL), slope), rtol=1e-3)
    assert conf is None
    assert sky is None


def test_a_plane_stays_a_plane_whatever_its_picture_shows():
    rng = np.random.default_rng(0)
    guide, picture = (rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in (SMALL, LARGE))
    depth, _, _ = upsample(plane(*centres(SMALL)), None, None, guide, picture, TO_SMALL, LARGE)
    np.testing.assert_allclose(depth, plane(*centres(LARGE, TO_SMALL)), rtol=1e-3)


@pytest.mark.parametrize("method", METHODS)
def test_what_a_crop_left_out_is_zero_and_the_rest_is_in_its_place(method):
    change = np.array([[0.5, 0, -11], [0, 0.25, -0.5], [0, 0, 1]])
    x, y = centres(LARGE, change)
    inside = (x >= 0) & (x <= SMALL[1]) & (y >= 0) & (y <= SMALL[0])
    assert 0 < inside.sum() < inside.size
    ones = np.ones(SMALL, np.float32)
    depth, conf, sky = upsample(plane(*centres(SMALL)), ones, ones > 0, None, None, change, LARGE, method)
    for result in (depth, conf, sky):
        np.testing.assert_array_equal(result > 0, inside)
    np.testing.assert_array_equal(conf[inside], 1)
    np.testing.assert_allclose(depth[inside], plane(x, y)[inside], rtol=1e-3 if method != "nearest" else 0.1)


def test_an_edge_lies_where_the_colours_change():
    small, guide, _ = two_walls(*centres(SMALL))
    expected, picture, _ = two_walls(*centres(LARGE, TO_SMALL))
    depth, conf, _ = upsample(small, np.where(small > 4, 3, 7), None, guide, picture, TO_SMALL, LARGE)
    assert np.isclose(depth, expected, rtol=1e-5).mean() > 0.999
    assert np.isclose(depth, 2, rtol=1e-5).sum() + np.isclose(depth, 6, rtol=1e-5).sum() == depth.size
    np.testing.assert_allclose(conf, np.where(depth > 4, 3, 7), rtol=1e-5)
    mixed, _, _ = upsample(small, None, None, guide, picture, TO_SMALL, LARGE, "bilinear")
    assert np.isclose(mixed, expected, rtol=1e-5).mean() < 0.96


def test_what_the_network_blurs_is_sharp_again():
    _, guide, right = two_walls(*centres(SMALL))
    inverse = np.pad(np.where(right, 1 / 6, 1 / 2), 1, mode="edge")
    inverse = 0.25 * inverse[:, :-2] + 0.5 * inverse[:, 1:-1] + 0.25 * inverse[:, 2:]
    inverse = 0.25 * inverse[:-2] + 0.5 * inverse[1:-1] + 0.25 * inverse[2:]
    expected, picture, _ = two_walls(*centres(LARGE, TO_SMALL))
    results = {method: upsample(1 / inverse, None, None, guide, picture, TO_SMALL, LARGE, method)[0] for method in METHODS}
    wrong = {method: (np.abs(depth / expected - 1) > 0.2).mean() for method, depth in results.items()}
    assert wrong["edge_aware"] < 0.25 * wrong["bilinear"]
    assert wrong["edge_aware"] < 0.25 * wrong["nearest"]
    assert wrong["edge_aware"] < 0.001


def test_without_colours_no_pixel_hangs_between_two_walls():
    small, _, _ = two_walls(*centres(SMALL))
    depth, _, _ = upsample(small, None, None, None, None, TO_SMALL, LARGE)
    assert (np.isclose(depth, 2, rtol=1e-5) | np.isclose(depth, 6, rtol=1e-5)).all()


def test_the_sky_ends_where_the_colours_change_and_its_depth_is_not_mixed_in():
    _, guide, sky = two_walls(*centres(SMALL))
    _, picture, expected = two_walls(*centres(LARGE, TO_SMALL))
    depth, _, in_sky = upsample(np.where(sky, np.float32(2.1), np.float32(2)), None, sky, guide, picture, TO_SMALL, LARGE)
    assert in_sky.dtype == bool
    assert (in_sky == expected).mean() > 0.999
    np.testing.assert_allclose(depth, np.where(in_sky, 2.1, 2), rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("hole", [0, -1, np.nan, np.inf])
def test_where_there_is_no_depth_there_is_none_at_the_other_size(method, hole):
    small = np.full(SMALL, 3, np.float32)
    small[4:9, 8:15] = hole
    depth, _, _ = upsample(small, None, None, None, None, TO_SMALL, LARGE, method)
    x, y = centres(LARGE, TO_SMALL)
    inside = (x > 8.5) & (x < 14.5) & (y > 4.5) & (y < 8.5)
    outside = (x < 7.5) | (x > 15.5) | (y < 3.5) | (y > 9.5)
    assert (depth[inside] == 0).all()
    np.testing.assert_allclose(depth[outside], 3, rtol=1e-6)
    assert (np.isclose(depth, 3, rtol=1e-6) | (depth == 0)).all()


@pytest.mark.parametrize("method", METHODS)
def test_confidence_is_at_least_the_least_of_the_view(method):
    conf = (1 + np.random.default_rng(0).random(SMALL) ** 8).astype(np.float32)
    conf[3, 4] = 1
    small, guide, _ = two_walls(*centres(SMALL))
    _, picture, _ = two_walls(*centres(LARGE, TO_SMALL))
    _, result, _ = upsample(small, conf, None, guide, picture, TO_SMALL, LARGE, method)
    assert result.min() >= 1
    assert result.max() <= conf.max() * (1 + 1e-6)


def test_confidence_is_bilinear_on_a_surface():
    x, y = centres(SMALL)
    _, conf, _ = upsample(np.ones(SMALL, np.float32), 2 + x + 3 * y, None, None, None, TO_SMALL, LARGE)
    x, y = centres(LARGE, TO_SMALL)
    x, y = np.clip(x, 0.5, SMALL[1] - 0.5), np.clip(y, 0.5, SMALL[0] - 0.5)
    np.testing.assert_allclose(conf, 2 + x + 3 * y, rtol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_at_the_same_size_nothing_changes_on_a_surface(method):
    small = plane(*centres(SMALL))
    depth, _, _ = upsample(small, None, None, None, None, np.eye(3), SMALL, method)
    np.testing.assert_allclose(depth, small, rtol=1e-6)


def test_an_image_smaller_than_the_processed_one_is_sampled():
    size = (7, 9)
    change = np.diag([SMALL[1] / size[1], SMALL[0] / size[0], 1.0])
    depth, _, _ = upsample(plane(*centres(SMALL)), None, None, None, None, change, size)
    np.testing.assert_allclose(depth, plane(*centres(size, change)), rtol=1e-3)


def test_a_view_that_lies_beside_the_picture_gives_nothing():
    change = np.array([[1.0, 0, -1000], [0, 1, 0], [0, 0, 1]])
    depth, _, _ = upsample(np.ones(SMALL, np.float32), None, None, None, None, change, LARGE)
    assert (depth == 0).all()


def test_strips_and_parts_join_without_a_seam(monkeypatch):
    rng = np.random.default_rng(0)
    guide, picture = (rng.integers(0, 256, (*size, 3), dtype=np.uint8) for size in (SMALL, LARGE))
    small, conf, sky = rng.uniform(1, 9, SMALL), rng.uniform(1, 2, SMALL), rng.random(SMALL) > 0.5
    whole = upsample(small, conf, sky, guide, picture, TO_SMALL, LARGE)
    monkeypatch.setattr("da3jax.inference.upsampling.ROWS_AT_A_TIME", 7)
    monkeypatch.setattr("da3jax.inference.upsampling.PIXELS_AT_A_TIME", 100)
    for one, other in zip(whole, upsample(small, conf, sky, guide, picture, TO_SMALL, LARGE), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("size", [(1, 1), (1, 5), (2, 2), (5, 1)])
def test_the_smallest_views_have_a_larger_size_too(method, size):
    depth, conf = np.full(size, 4, np.float32), np.full(size, 2, np.float32)
    larger = (2 * size[0], 3 * size[1])
    depth, conf, sky = upsample(depth, conf, None, None, None, np.diag([1 / 3, 1 / 2, 1]), larger, method)
    np.testing.assert_array_equal(depth, np.full(larger, 4))
    np.testing.assert_array_equal(conf, np.full(larger, 2))
    assert sky is None


def test_where_no_colour_is_like_the_pictures_nearness_alone_decides():
    small, _, _ = two_walls(*centres(SMALL))
    guide, picture = np.zeros((*SMALL, 3), np.uint8), np.full((*LARGE, 3), 255, np.uint8)
    expected, _, _ = upsample(small, None, None, None, None, TO_SMALL, LARGE)
    depth, _, _ = upsample(small, None, None, guide, picture, TO_SMALL, LARGE)
    np.testing.assert_allclose(depth, expected, rtol=1e-5)


def test_colours_that_differ_by_less_than_noise_hardly_move_an_edge():
    small, _, right = two_walls(*centres(SMALL))
    guide = np.repeat(np.where(right, 106, 100)[..., None], 3, axis=-1).astype(np.uint8)  # 10 apart, half of `LIKE`
    picture = np.full((*LARGE, 3), 106, np.uint8)
    depth, _, _ = upsample(small, None, None, guide, picture, TO_SMALL, LARGE)
    without, _, _ = upsample(small, None, None, None, None, TO_SMALL, LARGE)
    moved = (depth != without).mean()
    assert 0 < moved < 0.02


def test_sky_without_a_depth_is_not_of_the_surface_beside_it():
    sky = centres(SMALL)[0] > 15
    depth, _, in_sky = upsample(np.where(sky, np.float32(0), np.float32(1)), None, sky, None, None, TO_SMALL, LARGE)
    np.testing.assert_array_equal(depth, np.where(in_sky, 0, 1))
    assert 0 < in_sky.mean() < 1


@pytest.mark.parametrize("axis", [0, 1])
def test_beyond_the_last_centres_depth_goes_on_to_twice_or_half_at_most(axis):
    inverse = np.ones((9, 9), np.float32)
    inverse[:, 0], inverse[:, -1] = 0.1, 0.55
    inverse = inverse if axis else inverse.T
    depth, _, _ = upsample(1 / inverse, None, None, None, None, np.diag([1 / 8, 1 / 8, 1]), (72, 72), "bilinear")
    depth = depth if axis else depth.T
    assert (depth > 0).all()
    # the outermost places are 7 / 16 of a pixel beyond the last centres
    np.testing.assert_allclose(depth[:, 0], 1 / (0.1 - 7 / 16 * 0.05), rtol=1e-5)
    np.testing.assert_allclose(depth[:, -1], 1 / (0.55 - 7 / 16 * 0.275), rtol=1e-5)


@pytest.mark.parametrize("method", ["edge_aware", "bilinear"])
def test_a_bend_at_the_border_is_no_edge(method):
    inverse = np.tile(np.float32([0.5, 0.51, 0.53, 0.56, 0.6, 0.65, 0.7, 0.75, 0.8]), (9, 1))
    depth, _, _ = upsample(1 / inverse, None, None, None, None, np.diag([1 / 8, 1 / 8, 1]), (72, 72), method)
    np.testing.assert_allclose(depth[:, 0], 1 / (0.5 - 7 / 16 * 0.01), rtol=1e-5)  # 7 / 16 of a pixel beyond the last centres
