import dataclasses

import numpy as np
import pytest
from PIL import Image

from da3jax.outputs import export
from da3jax.outputs.colormap import table
from da3jax.outputs.depth_vis import NO_DEPTH, colour_depth, inverse_range
from da3jax.outputs.legend import legend


def linear_light(colours):
    x = colours / 255
    return np.where(x <= 0.04045, x / 12.92, ((x + 0.055) / 1.055) ** 2.4)


def test_the_colour_map_grows_brighter_at_an_even_pace_from_blue_to_yellow():
    colours = table()
    lightness = np.cbrt(linear_light(colours) @ np.array([0.2126, 0.7152, 0.0722]))  # CIE L*, up to scale and offset
    assert (np.diff(lightness) > -0.002).all()  # rounding to bytes
    assert (np.diff(lightness[::8]) > 0.008).all()
    np.testing.assert_allclose(lightness, np.linspace(lightness[0], lightness[-1], 256), atol=0.06)
    assert np.abs(np.diff(colours.astype(int), axis=0)).max() <= 4
    assert colours[0].argmax() == 2
    assert colours[0].max() < 100
    assert (colours[-1, :2] > 230).all()
    assert colours[-1, 2] < 180


def test_near_is_warm_and_far_is_cold_along_inverse_depth():
    inverse = np.linspace(1.0, 3.0, 101)
    colours = colour_depth(1 / inverse[None])[0]
    # The 2nd and 98th percentiles, at 1.04 and 2.96, are the ends of the map.
    expected = table()[np.round(255 * np.clip((inverse - 1.04) / 1.92, 0, 1)).astype(int)]
    assert np.abs(colours.astype(int) - expected).max() <= 4
    np.testing.assert_array_equal(colours[:3], np.tile(table()[0], (3, 1)))
    np.testing.assert_array_equal(colours[-3:], np.tile(table()[-1], (3, 1)))


def test_colours_do_not_depend_on_the_unit_of_depth():
    depth = np.random.default_rng(0).uniform(1, 9, (8, 9)).astype(np.float32)
    np.testing.assert_array_equal(colour_depth(depth), colour_depth(1024 * depth))


def test_constant_depth_has_the_middle_colour():
    np.testing.assert_array_equal(colour_depth(np.full((4, 5), 3.0)), np.broadcast_to(table()[128], (4, 5, 3)))


def test_pixels_without_a_depth_are_grey_and_change_no_other():
    depth = np.linspace(1, 2, 60).reshape(6, 10).astype(np.float32)
    marked = np.concatenate([depth, [[np.nan, np.inf, -np.inf, 0, -1, np.nan, np.inf, 0, 0, 0]]])
    colours = colour_depth(marked)
    np.testing.assert_array_equal(colours[:-1], colour_depth(depth))
    np.testing.assert_array_equal(colours[-1], np.tile(NO_DEPTH, (10, 1)))


@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_a_view_without_any_depth_is_grey(value):
    np.testing.assert_array_equal(colour_depth(np.full((4, 5), value)), np.broadcast_to(np.array(NO_DEPTH), (4, 5, 3)))


def test_a_picture_is_the_photograph_beside_its_depth(prediction, tmp_path):
    smooth = np.broadcast_to(np.array([[[200, 90, 40]], [[20, 120, 220]]], np.uint8)[:, None], prediction.processed_images.shape)
    prediction = dataclasses.replace(prediction, processed_images=smooth)
    for view, path in enumerate(export(prediction, "depth_vis", tmp_path)):
        picture = np.asarray(Image.open(path)).astype(int)
        np.testing.assert_allclose(picture[:, 64:], legend(20, *inverse_range(prediction.depth[view]), False)[:, 4:], atol=60)
        # JPEG rings where the two halves meet, so the eight columns beside the seam are left out.
        assert np.abs(picture[:, :24] - smooth[view, :, :24]).max() <= 4
        assert np.abs(picture[:, 32:56] - colour_depth(prediction.depth[view])[:, 2:26]).max() <= 16


def test_the_legend_can_be_left_out(prediction, tmp_path):
    for path in export(prediction, "depth_vis", tmp_path, depth_vis_legend=False):
        assert np.asarray(Image.open(path)).shape == (20, 60, 3)


def test_views_may_share_one_scale(prediction, tmp_path):
    """The second view is as the first, twice as far: by a scale of its own it looks the same, by a shared one it does not."""
    twice = dataclasses.replace(prediction, depth=np.stack([prediction.depth[0], 2 * prediction.depth[0]]))
    twice = dataclasses.replace(twice, processed_images=np.zeros((2, 20, 30, 3), np.uint8))
    own = [np.asarray(Image.open(path)) for path in export(twice, "depth_vis", tmp_path, depth_vis_legend=False)]
    np.testing.assert_array_equal(own[0], own[1])
    limits = inverse_range(twice.depth)
    for view, path in enumerate(export(twice, "depth_vis", tmp_path, depth_vis_legend=False, depth_vis_shared_scale=True)):
        shared = np.asarray(Image.open(path)).astype(int)
        assert np.abs(shared[:, 32:] - colour_depth(twice.depth[view], limits)[:, 2:]).max() <= 16
    assert np.abs(shared[:, 32:] - own[1][:, 32:]).mean() > 20


def test_the_scale_of_many_pixels_is_that_of_some_and_of_a_mask_that_of_its_pixels(monkeypatch):
    depth = np.random.default_rng(0).uniform(1, 9, (4, 100, 100))
    exact = np.percentile(1 / depth, (2, 98))
    np.testing.assert_allclose(inverse_range(depth), exact)
    np.testing.assert_allclose(inverse_range(depth, depth > 5), np.percentile(1 / depth[depth > 5], (2, 98)))
    monkeypatch.setattr("da3jax.outputs.depth_vis._SAMPLES", 10_000)
    assert inverse_range(depth) != tuple(exact)
    np.testing.assert_allclose(inverse_range(depth), exact, rtol=0.05)


def test_a_scene_without_depth_has_an_empty_scale(prediction, tmp_path):
    empty = dataclasses.replace(prediction, depth=np.zeros_like(prediction.depth))
    assert inverse_range(empty.depth) == (0, 0)
    for shared in (False, True):
        assert len(export(empty, "depth_vis", tmp_path, depth_vis_shared_scale=shared)) == 2
