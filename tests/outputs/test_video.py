import dataclasses

import av
import numpy as np
import pytest

from da3jax.outputs import export
from da3jax.outputs.colormap import table
from da3jax.outputs.depth_vis import NO_DEPTH
from da3jax.outputs.video import coloured_views


@pytest.fixture
def ramp(prediction):
    """Two views of 32 × 64 pixels: inverse depth from 1 to 2 along x, and from 2 to 3."""
    inverse = np.linspace(0, 1, 64)[None, :].repeat(32, 0)
    depth = np.stack([1 / (1 + inverse), 1 / (2 + inverse)]).astype(np.float32)
    photographs = np.broadcast_to(np.array([[[200, 90, 40]], [[20, 120, 220]]], np.uint8)[:, None], (2, 32, 64, 3))
    return dataclasses.replace(prediction, depth=depth, processed_images=photographs)


def coloured(prediction):
    return np.stack(list(coloured_views(prediction)))


def decoded(path):
    with av.open(str(path)) as container:
        return np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]).astype(int)


def test_one_scale_holds_for_all_views(ramp):
    colours = coloured(ramp)
    inverse = 1 / ramp.depth.astype(np.float64)
    low, high = np.percentile(inverse, (2, 98))
    np.testing.assert_array_equal(colours, table()[np.round(255 * np.clip((inverse - low) / (high - low), 0, 1)).astype(int)])
    # The end of the first view is as near as the beginning of the second.
    np.testing.assert_array_equal(colours[0, :, -1], colours[1, :, 0])
    assert (colours[0, 0, 0] == table()[0]).all()
    assert (colours[1, 0, -1] == table()[-1]).all()


def test_a_view_that_comes_twice_looks_the_same_whatever_is_between(ramp):
    depth = np.stack([ramp.depth[0], 9 * ramp.depth[1], ramp.depth[0]])
    colours = coloured(dataclasses.replace(ramp, depth=depth))
    np.testing.assert_array_equal(colours[0], colours[2])


def test_sky_does_not_count_and_is_as_far_as_can_be(ramp):
    sky = np.zeros(ramp.depth.shape, bool)
    sky[:, :8] = True
    depth = np.where(sky, 1e-3, ramp.depth).astype(np.float32)
    colours = coloured(dataclasses.replace(ramp, depth=depth, sky=sky))
    np.testing.assert_array_equal(colours[:, :8], np.broadcast_to(table()[0], (2, 8, 64, 3)))
    np.testing.assert_array_equal(colours[:, 8:], coloured(ramp)[:, 8:])


@pytest.mark.parametrize("value", [np.nan, np.inf, 0, -1])
def test_pixels_without_a_depth_are_grey_and_change_no_other(ramp, value):
    depth = ramp.depth.copy()
    depth[:, :8] = value
    colours = coloured(dataclasses.replace(ramp, depth=depth))
    np.testing.assert_array_equal(colours[:, :8], np.broadcast_to(NO_DEPTH, (2, 8, 64, 3)))
    np.testing.assert_array_equal(colours[:, 8:], coloured(ramp)[:, 8:])


def test_constant_depth_has_the_middle_colour_and_no_depth_is_grey(ramp):
    np.testing.assert_array_equal(coloured(dataclasses.replace(ramp, depth=np.full((2, 4, 5), 3.0)))[1, 2], np.tile(table()[128], (5, 1)))
    np.testing.assert_array_equal(coloured(dataclasses.replace(ramp, depth=np.full((2, 4, 5), np.nan)))[1, 2], np.tile(NO_DEPTH, (5, 1)))


def test_the_scale_of_many_pixels_is_that_of_evenly_spaced_ones(ramp, monkeypatch):
    exact = coloured(ramp).astype(int)
    monkeypatch.setattr("da3jax.outputs.depth_vis._SAMPLES", 300)
    assert np.abs(coloured(ramp) - exact).max() <= 12


def test_the_videos_show_depth_alone_and_beside_the_photographs(ramp, tmp_path):
    alone, beside = map(decoded, export(ramp, "video", tmp_path, video_fps=5))
    expected = coloured(ramp).astype(int)
    assert alone.shape == (2, 32, 64, 3)
    assert np.abs(alone - expected).mean() <= 3
    assert beside.shape == (2, 32, 128, 3)
    assert np.abs(beside[:, :, :56] - ramp.processed_images[:, :, :56]).max() <= 6
    assert np.abs(beside[:, :, 72:] - expected[:, :, 8:]).mean() <= 3
    with av.open(str(tmp_path / "video" / "depth.mp4")) as container:
        assert container.streams.video[0].average_rate == 5


def test_odd_sizes_and_one_view(ramp, tmp_path):
    one = dataclasses.replace(
        ramp, depth=ramp.depth[:1, :31, :45], processed_images=ramp.processed_images[:1, :31, :45], extrinsics=None, intrinsics=None
    )
    alone, beside = map(decoded, export(one, "video", tmp_path))
    assert alone.shape == (1, 32, 46, 3)
    assert beside.shape == (1, 32, 90, 3)


def test_pictures_too_wide_for_an_encoder_are_drawn_smaller_with_a_warning(ramp, tmp_path, caplog):
    wide = {"depth": np.tile(ramp.depth[:, :16], (1, 1, 130)), "processed_images": np.tile(ramp.processed_images[:, :16], (1, 1, 130, 1))}
    alone, beside = map(decoded, export(dataclasses.replace(ramp, **wide), "video", tmp_path))
    assert (alone.shape, beside.shape) == ((2, 8, 4160, 3), (2, 8, 8320, 3))
    assert np.abs(beside[:, :, :4000] - wide["processed_images"][:, :8, :4000]).max() <= 6
    assert [record.getMessage() for record in caplog.records] == [
        "video: pictures of 8320 × 16 are drawn 2 times smaller; an encoder takes sides up to 16384 pixels, and two are side by side"
    ]


def test_without_photographs_it_is_refused(ramp, tmp_path):
    with pytest.raises(ValueError, match=r"^export format 'video' needs processed_images, and the prediction has none"):
        export(dataclasses.replace(ramp, processed_images=None), "video", tmp_path / "out")
    assert not (tmp_path / "out").exists()
