"""Every camera model projects as COLMAP's own code does, and back."""

import numpy as np
import pytest

from da3jax.inputs.lenses import MODELS, lens, parameter_count, pixels_from_plane, plane_from_pixels

DISTORTION = {
    "SIMPLE_PINHOLE": (),
    "PINHOLE": (),
    "SIMPLE_RADIAL": (-0.1,),
    "RADIAL": (-0.1, 0.02),
    "OPENCV": (-0.1, 0.02, 0.002, -0.001),
    "OPENCV_FISHEYE": (0.02, -0.01, 0.003, -0.001),
    "FULL_OPENCV": (-0.1, 0.02, 0.002, -0.001, 0.003, 0.01, 0.002, 0.001),
    "FOV": (0.8,),
    "SIMPLE_RADIAL_FISHEYE": (0.02,),
    "RADIAL_FISHEYE": (0.02, -0.01),
    "THIN_PRISM_FISHEYE": (0.02, -0.01, 0.001, -0.002, 0.003, -0.001, 0.0005, -0.0007),
    "RAD_TAN_THIN_PRISM_FISHEYE": (0.02, -0.01, 0.003, -0.001, 0.0002, -0.0001, 0.001, -0.002, 0.0005, -0.0007, 0.0003, 0.0002),
    "SIMPLE_DIVISION": (-0.1,),
    "DIVISION": (0.08,),
    "SIMPLE_FISHEYE": (),
    "FISHEYE": (),
    "EUCM": (0.6, 1.1),
}
"""Mild lenses: one of each model."""


def parameters(model, width=640, height=480, focal=400.0):
    """Of a lens that is not centred and, where it can be, not square."""
    focals = [focal, focal * 1.02][: MODELS[model].focals]
    return [*focals, 0.485 * width, 0.51 * height, *DISTORTION[model]]


def test_every_model_of_colmap_is_known_by_its_number():
    import pycolmap

    theirs = {name: (value.value, len(pycolmap.Camera.create_from_model_name(1, name, 1, 1, 1).params)) for name, value in _ids(pycolmap)}
    ours = {name: (model.number, parameter_count(name)) for name, model in MODELS.items()}
    assert ours == {name: of for name, of in theirs.items() if name != "EQUIRECTANGULAR"}
    assert theirs["EQUIRECTANGULAR"] == (17, 2)


def _ids(pycolmap):
    return [(name, value) for name, value in pycolmap.CameraModelId.__members__.items() if name != "INVALID"]


@pytest.mark.parametrize("model", MODELS)
def test_projections_are_those_of_colmap(model):
    import pycolmap

    theirs = pycolmap.Camera(model=model, width=640, height=480, params=parameters(model))
    points = np.random.default_rng(0).uniform((-1, -1, 0.9), (1, 1, 2), (200, 3))
    points[0] = 0, 0, 1
    expected = np.array([theirs.img_from_cam(point) for point in points])
    x, y = points[:, :2].T / points[:, 2]
    pixels = np.stack(pixels_from_plane(lens(model, 640, 480, parameters(model), "the camera"), x, y), axis=-1)
    np.testing.assert_allclose(pixels, expected, rtol=1e-9, atol=1e-7)


@pytest.mark.parametrize("model", MODELS)
def test_pixels_see_the_points_that_they_show(model):
    of = lens(model, 640, 480, parameters(model), "the camera")
    points = np.random.default_rng(1).uniform(-0.8, 0.8, (2, 200))
    points[:, 0] = 0
    np.testing.assert_allclose(plane_from_pixels(of, *pixels_from_plane(of, *points)), points, atol=1e-12)


def test_a_pixel_that_sees_nothing_before_the_camera_is_nan():
    beyond = {
        "FISHEYE": [100, 100, 320, 240],  # 3.2 radians to the left
        "FOV": [100, 100, 320, 240, 0.9],
        "DIVISION": [100, 100, 320, 240, -0.2],
        "EUCM": [100, 100, 320, 240, 0.7, 1],
        "SIMPLE_RADIAL": [300, 320, 240, -0.4],  # past where the picture folds over
    }
    for model, values in beyond.items():
        x, y = plane_from_pixels(lens(model, 640, 480, values, "the camera"), np.array([0.5, 320.0]), np.array([240.0, 240]))
        assert np.isnan([x[0], y[0]]).all(), model
        np.testing.assert_allclose([x[1], y[1]], 0, atol=1e-12)


def test_a_lens_without_distortion_is_a_pinhole_unless_it_is_a_fisheye():
    for model in MODELS:
        values = np.array(parameters(model))
        values[MODELS[model].focals + 2 :] = 0
        assert lens(model, 640, 480, values, "the camera").is_pinhole == (not MODELS[model].fisheye)
        assert not DISTORTION[model] or not lens(model, 640, 480, parameters(model), "the camera").is_pinhole
    assert lens("EUCM", 640, 480, [400, 400, 320, 240, 0, 3], "the camera").is_pinhole


def test_a_lens_of_one_focal_length_has_it_twice():
    np.testing.assert_array_equal(
        lens("SIMPLE_RADIAL", 640, 480, [400, 310, 245, 0.1], "the camera").intrinsics, [[400, 0, 310], [0, 400, 245], [0, 0, 1]]
    )


def test_resized_pictures_are_projected_to_the_same_fractions():
    whole = lens("OPENCV", 640, 480, parameters("OPENCV"), "the camera")
    small = whole.scaled(320, 120)
    x, y = pixels_from_plane(whole, 0.3, -0.2)
    np.testing.assert_allclose(pixels_from_plane(small, 0.3, -0.2), (x / 2, y / 4), rtol=1e-12)
    assert (small.width, small.height) == (320, 120)


@pytest.mark.parametrize(
    ("model", "size", "values", "message"),
    [
        ("PINHOL", (640, 480), [500] * 4, "the model of camera 3 'PINHOL' is unknown; .* did you mean 'PINHOLE'"),
        ("EQUIRECTANGULAR", (640, 480), [640, 480], "camera 3 is EQUIRECTANGULAR, a panorama, .* it should be cut into several"),
        ("PINHOLE", (640, 480), [500] * 3, "camera 3 is PINHOLE with 3 parameters; it has 4"),
        (
            "PINHOLE",
            (640, 480),
            [500, 500, np.nan, 0],
            "camera 3 has the parameters 500, 500, nan, 0; they should be finite float32 numbers",
        ),
        (
            "OPENCV",
            (640, 480),
            [1.7e308, 500, 320, 240, 0.1, 0, 0, 0],
            r"the parameters 1.7e\+308, .* they should be finite float32 numbers",
        ),
        ("PINHOLE", (0, 480), [500] * 4, r"camera 3 is for images of 0 × 480 pixels \(W × H\), .* should be positive"),
        ("PINHOLE", (10**400, 480), [500] * 4, "should be positive, and the size that of an image"),
        ("PINHOLE", (640, 480), [500, -1, 2, 3], "with focal lengths of 500 and -1; all of these should be positive"),
    ],
)
def test_what_is_no_lens_is_refused(model, size, values, message):
    with pytest.raises(ValueError, match=message):
        lens(model, *size, values, "camera 3")
