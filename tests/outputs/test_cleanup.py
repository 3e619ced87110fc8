import dataclasses

import numpy as np
import pytest

from da3jax.outputs import ExportOptions
from da3jax.outputs.cleanup import flying_pixels, kept_pixels, valid_depth

NAN = float("nan")


def kept(prediction, **options):
    return kept_pixels(prediction, ExportOptions(**options))


@pytest.mark.parametrize(
    ("confidence", "percentile", "count"),
    [
        (np.arange(600) / 100 + 1, 40.0, 360),  # the percentile asked for
        (np.arange(600) / 100 + 1, 75.0, 150),
        (np.arange(600) / 100 + 1, 99.0, 60),  # never more than the 90th
        (np.where(np.arange(600) < 330, 1.0, 1.2), 40.0, 270),  # at least 1.05, though the percentile is 1
        (np.linspace(1, 1.04, 600), 40.0, 60),  # nothing reaches 1.05: the best tenth
        (np.ones(600), 40.0, 600),
    ],
)
def test_confidence_decides_as_in_the_official_export(prediction, confidence, percentile, count):
    shuffled = np.random.default_rng(0).permutation(600)
    confidence = np.broadcast_to(confidence[shuffled].reshape(20, 30), (2, 20, 30)).astype(np.float32)
    threshold = min(max(np.float32(1.05), np.percentile(confidence, percentile)), np.percentile(confidence, 90))
    keep = kept(dataclasses.replace(prediction, conf=confidence), conf_thresh_percentile=percentile)
    np.testing.assert_array_equal(keep, confidence >= threshold)
    assert np.count_nonzero(keep) == 2 * count


@pytest.fixture
def half_sky(prediction):
    sky = np.zeros((2, 20, 30), bool)
    sky[:, :10] = True
    confidence = np.full((2, 20, 30), 1000, np.float32)
    confidence[:, 10:] = (np.arange(300) / 100 + 2).reshape(10, 30)
    return dataclasses.replace(prediction, conf=confidence, sky=sky)


def test_sky_is_removed_and_has_no_part_in_the_percentiles(half_sky):
    expected = np.zeros((2, 20, 30), bool)
    expected[:, 15:] = True
    np.testing.assert_array_equal(kept(half_sky, conf_thresh_percentile=50), expected)


def test_sky_may_stay_and_is_then_as_any_other_pixel(half_sky):
    expected = np.zeros((2, 20, 30), bool)
    expected[:, :10] = True
    np.testing.assert_array_equal(kept(half_sky, conf_thresh_percentile=50, filter_sky=False), expected)
    assert valid_depth(half_sky, ExportOptions(filter_sky=False)).all()


def test_depth_and_confidence_that_are_no_numbers_are_skipped(prediction):
    prediction.depth[0, 0, :5] = NAN, np.inf, -np.inf, 0, -1
    confidence = np.full((2, 20, 30), 3, np.float32)
    confidence[1, 0, :2] = NAN, np.inf
    expected = np.ones((2, 20, 30), bool)
    expected[0, 0, :5] = False
    np.testing.assert_array_equal(valid_depth(prediction, ExportOptions()), expected)
    np.testing.assert_array_equal(kept(prediction), expected)
    expected[1, 0, :2] = False
    np.testing.assert_array_equal(kept(dataclasses.replace(prediction, conf=confidence)), expected)
    assert not kept(dataclasses.replace(prediction, conf=np.full((2, 20, 30), NAN))).any()


@pytest.mark.parametrize(("option", "removed"), [("filter_black_bg", [0, 1]), ("filter_white_bg", [3, 4])])
def test_a_background_is_what_is_nearly_black_or_white_in_all_channels(prediction, option, removed):
    images = np.full((2, 20, 30, 3), 100, np.uint8)
    images[:, :5, 0] = [[0, 0, 0], [15, 15, 15], [16, 3, 3], [240, 240, 240], [255, 255, 255]]
    images[:, 5, 0] = 239, 255, 255
    expected = np.ones((2, 20, 30), bool)
    expected[:, removed, 0] = False
    prediction = dataclasses.replace(prediction, processed_images=images)
    np.testing.assert_array_equal(kept(prediction, **{option: True}), expected)
    assert kept(prediction).all()


def test_what_stands_on_black_is_not_thinned_by_confidence_a_second_time(prediction):
    images = np.full((2, 20, 30, 3), 100, np.uint8)
    images[:, :10] = 0
    confidence = np.full((2, 20, 30), 1000, np.float32)
    confidence[:, 10:] = (np.arange(300) / 100 + 2).reshape(10, 30)
    keep = kept(dataclasses.replace(prediction, processed_images=images, conf=confidence), filter_black_bg=True)
    np.testing.assert_array_equal(keep, (images > 0).all(axis=-1))


def test_a_background_cannot_be_left_out_without_images(prediction):
    bare = dataclasses.replace(prediction, processed_images=None)
    assert kept(bare).all()
    message = "^filter_black_bg and filter_white_bg need processed_images, and the prediction has none; leave the filters out$"
    with pytest.raises(ValueError, match=message):
        kept(bare, filter_white_bg=True)


def test_the_slope_between_two_surfaces_is_removed_along_any_direction():
    across = np.repeat([[2.0, 2, 2, 3, 5, 7, 8, 8, 8]], 9, axis=0)
    expected = np.repeat([[0, 0, 0, 1, 1, 1, 0, 0, 0]], 9, axis=0).astype(bool)
    np.testing.assert_array_equal(flying_pixels(across, 0.05), expected)
    np.testing.assert_array_equal(flying_pixels(across[:, ::-1], 0.05), expected[:, ::-1])
    np.testing.assert_array_equal(flying_pixels(across.T, 0.05), expected.T)
    rows, columns = np.mgrid[:9, :9]
    for place in (rows + columns, rows - columns + 8):
        flying = flying_pixels(np.interp(place, [7, 9], [2.0, 8.0]), 0.05)
        np.testing.assert_array_equal(flying[1:-1, 1:-1], (place == 8)[1:-1, 1:-1])


def test_both_sides_of_a_clean_step_stay_and_so_does_what_is_thin():
    step = np.where(np.arange(30) < 14, 2.0, 9.0) * np.ones((20, 1))
    pole = np.where(np.arange(30) == 14, 2.0, 9.0) * np.ones((20, 1))
    assert not flying_pixels(step, 0.05).any()
    assert not flying_pixels(pole, 0.05).any()


def test_where_a_scene_is_blurred_nearly_all_wrong_depths_are_found_and_hardly_any_other():
    height, width = 189, 252
    rows, columns = np.mgrid[:height, :width]
    rays = np.stack([(columns + 0.5 - width / 2) / 200, (rows + 0.5 - height / 2) / 200, np.ones((height, width))], axis=-1)
    truth = np.minimum(9, 1.2 / np.maximum(rays[..., 1], 1e-6))  # a floor in front of a wall, and balls
    for x, y, z, radius in ((-1, -0.2, 4, 0.8), (0.6, 0.3, 6, 0.6), (1.5, -0.6, 5, 0.7), (-0.3, -1, 7, 0.6), (0.1, 0.1, 3, 0.2)):
        along, square = rays @ np.array([x, y, z]), np.square(rays).sum(axis=-1)
        inside = along**2 - square * (x**2 + y**2 + z**2 - radius**2)
        truth = np.where(inside > 0, np.minimum(truth, (along - np.sqrt(np.maximum(inside, 0))) / square), truth)
    kernel = np.exp(-0.5 * np.arange(-4, 5) ** 2)
    blurred = np.log(np.pad(truth, 4, mode="edge"))
    for _ in range(2):
        blurred = np.apply_along_axis(np.convolve, 1, blurred, kernel / kernel.sum(), "valid").T
    depth = np.exp(blurred)
    wrong, found = np.abs(depth / truth - 1) > 0.05, flying_pixels(depth, 0.05)
    assert wrong.mean() > 0.02
    assert found[wrong].mean() > 0.95
    assert found[~wrong].mean() < 0.01


def test_the_threshold_is_a_share_of_the_depth(prediction):
    ramp = np.exp(0.06 * np.arange(30)) * np.ones((20, 1))
    inside = np.ones((20, 30), bool)
    inside[:, [0, -1]] = False
    for scale in (1e-3, 1.0, 1e3):
        np.testing.assert_array_equal(flying_pixels(scale * ramp, 0.05), inside)
        assert not flying_pixels(scale * ramp, 0.07).any()
    prediction = dataclasses.replace(prediction, depth=np.stack([ramp, np.full((20, 30), 4.0)]))
    np.testing.assert_array_equal(kept(prediction, edge_threshold=0.05), np.stack([~inside, np.ones((20, 30), bool)]))
    assert kept(prediction).all()


def test_pixels_without_a_depth_are_no_neighbours():
    for nothing in (NAN, 0.0, -1.0, np.inf):
        assert not flying_pixels(np.array([[2.0, 3, nothing, 7, 8]]), 0.05).any()
    np.testing.assert_array_equal(flying_pixels(np.array([[2.0, 3, 4, NAN]]), 0.05), [[False, True, False, False]])
