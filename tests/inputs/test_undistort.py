"""Undistorted pictures are those of a pinhole camera, the same one that COLMAP's image_undistorter would choose."""

import numpy as np
import pytest

from da3jax.inputs.lenses import MODELS, lens, plane_from_pixels
from da3jax.inputs.undistort import WIDEST, pinhole_of, resample, undistortion_map
from tests.inputs.test_lenses import parameters

LENSES = [model for model in MODELS if "PINHOLE" not in model]


def scene(x, y):
    """The colour (..., 3) that a camera sees in the direction of the point (x, y) of the plane z = 1, from 0 to 255."""
    waves = (np.sin(7 * x + 2 * y), np.cos(3 * x - 6 * y), np.sin(5 * x * y + 1))
    return np.stack([127.5 + 120 * wave for wave in waves], axis=-1)


def picture(of):
    """(H, W, 3) uint8 of the scene through a lens; black where it sees nothing."""
    x, y = plane_from_pixels(of, *np.meshgrid(np.arange(of.width) + 0.5, np.arange(of.height) + 0.5))
    return np.rint(np.nan_to_num(scene(x, y))).astype(np.uint8)


@pytest.mark.parametrize("model", LENSES)
def test_an_undistorted_picture_is_that_of_the_pinhole(model):
    of = lens(model, 160, 120, parameters(model, 160, 120, 100), "the camera")
    pinhole = pinhole_of(of, "the camera")
    found = resample(picture(of), undistortion_map(of, pinhole))
    assert found.shape == (pinhole.height, pinhole.width, 3)
    error = np.abs(found.astype(float) - scene(*plane_from_pixels(pinhole, *np.meshgrid(*_centres(pinhole)))))
    assert error.max() < 3.5  # 0.1 pixels would make 0.8 more, and half a pixel 4
    assert error.mean() < 0.5


def _centres(of):
    return np.arange(of.width) + 0.5, np.arange(of.height) + 0.5


@pytest.mark.parametrize("model", LENSES)
@pytest.mark.parametrize("sign", [1, -1])
def test_the_pinhole_is_the_one_that_colmap_chooses(model, sign):
    import pycolmap

    values = parameters(model)
    further = MODELS[model].focals + 2
    values[further:] = [value * sign for value in values[further:]] if model != "EUCM" else values[further:]
    theirs = pycolmap.undistort_camera(
        pycolmap.UndistortCameraOptions(), pycolmap.Camera(model=model, width=640, height=480, params=values)
    )
    ours = pinhole_of(lens(model, 640, 480, values, "the camera"), "the camera")
    assert (ours.model, ours.width, ours.height) == ("PINHOLE", theirs.width, theirs.height)
    np.testing.assert_allclose([*ours.focal, *ours.centre], theirs.params, rtol=1e-12)


def test_a_pinhole_stays_itself():
    of = lens("SIMPLE_RADIAL", 640, 480, [400, 310, 245, 0], "the camera")
    assert pinhole_of(of, "the camera") is of


def test_a_fisheye_of_180_degrees_becomes_a_picture_of_120_without_blank_pixels():
    of = lens("SIMPLE_FISHEYE", 400, 400, [400 / np.pi, 200, 200], "the camera")
    pinhole = pinhole_of(of, "the camera")
    assert np.degrees(np.arctan(200 * pinhole.width / 400 / pinhole.focal[0])) == pytest.approx(np.degrees(WIDEST), abs=0.3)
    white = resample(np.where(picture(of).any(-1, keepdims=True), 255, 0).astype(np.uint8).repeat(3, -1), undistortion_map(of, pinhole))
    assert white.min() == 255


def test_a_circular_fisheye_whose_borders_see_nothing_is_cut_the_same_way():
    of = lens("OPENCV_FISHEYE", 600, 400, [100, 100, 300, 200, 0.01, 0, 0, 0], "the camera")  # the circle's radius is 160
    pinhole = pinhole_of(of, "the camera")
    assert max(pinhole.width / pinhole.focal[0], pinhole.height / pinhole.focal[1]) <= 2 * np.tan(WIDEST) + 1e-9
    assert min(pinhole.width / pinhole.focal[0], pinhole.height / pinhole.focal[1]) > 3.4
    places = undistortion_map(of, pinhole)
    assert np.hypot(places[0] - 299.5, places[1] - 199.5).max() < 100 * 1.25 * (1 + 0.01 * 1.25**2)


def test_a_picture_that_folds_over_is_cut_before_the_fold():
    of = lens("SIMPLE_RADIAL", 640, 480, [300, 320, 240, -0.4], "the camera")  # folds at a radius of 0.91, which is 182 pixels
    pinhole = pinhole_of(of, "the camera")
    assert 0.6 < np.hypot(pinhole.width - 1, pinhole.height - 1) / 2 / 300 < 0.913
    places = undistortion_map(of, pinhole)
    assert (np.diff(places[0], axis=1) > 0).all()
    assert (np.diff(places[1], axis=0) > 0).all()


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([400, 400, -10, 240, 0.1, 0, 0, 0], r"camera 3 has its principal point at \(-10, 240\), outside its images of 640 × 480 pixels"),
        ([400, 400, 320, 240, 0, 0, 1e9, 1e9], "camera 3 is OPENCV with the distortion .*, which leaves no part of its images that a pin"),
        ([1e-9, 1e-9, 320, 240, 0.1, 0, 0, 0], "camera 3 is OPENCV with the distortion .*, which leaves no part of its images that a pin"),
    ],
)
def test_a_lens_that_cannot_be_a_pinhole_is_refused(values, message):
    with pytest.raises(ValueError, match=message):
        pinhole_of(lens("OPENCV", 640, 480, values, "camera 3"), "camera 3")


def test_resampling_is_bilinear_and_reaches_all_corners():
    image = np.zeros((2, 3, 3), np.uint8)
    image[..., 0], image[..., 1] = [[0, 100, 200], [10, 110, 210]], 7
    places = np.array([[[0, 0.5, 2, 1.25]], [[0, 0.5, 1, 0.4]]], np.float32)
    np.testing.assert_array_equal(resample(image, places)[0, :, 0], [0, 55, 210, 129])
    np.testing.assert_array_equal(resample(image, places)[0, :, 1:], [[7, 0]] * 4)
    np.testing.assert_array_equal(resample(image[:1, :1], np.zeros((2, 1, 2), np.float32))[0, :, 1], [7, 7])
