import dataclasses

import numpy as np
import pytest

from da3jax.inputs import preprocess
from da3jax.outputs.original_cameras import original_cameras
from tests.outputs.rendered import HEIGHT, SIZES, WIDTH, render, transform


@pytest.fixture(scope="module")
def scene():
    return render()


def test_cameras_are_those_of_the_pictures_at_their_own_size(scene):
    cameras = original_cameras(scene.prediction, "it")
    np.testing.assert_allclose(cameras.intrinsics, scene.intrinsics, rtol=2e-7, atol=2e-5)
    np.testing.assert_array_equal(cameras.sizes, SIZES)
    np.testing.assert_allclose(cameras.to_original @ scene.prediction.from_image, np.tile(np.eye(3), (4, 1, 1)), atol=1e-12)
    np.testing.assert_allclose(cameras.rotations, scene.extrinsics[:, :, :3], atol=1e-7)
    np.testing.assert_allclose(cameras.rotations @ cameras.rotations.transpose(0, 2, 1), np.tile(np.eye(3), (4, 1, 1)), atol=1e-15)
    np.testing.assert_allclose(cameras.translations, scene.extrinsics[:, :, 3], atol=1e-6)


def test_cameras_of_half_precision_are_taken(scene):
    names = ("intrinsics", "extrinsics", "from_image")
    half = dataclasses.replace(scene.prediction, **{name: getattr(scene.prediction, name).astype(np.float16) for name in names})
    np.testing.assert_allclose(original_cameras(half, "it").intrinsics, scene.intrinsics, rtol=5e-3, atol=0.5)


@pytest.mark.parametrize("missing", ["from_image", "image_sizes"])
def test_without_a_way_back_the_processed_images_are_the_pictures(scene, missing):
    cameras = original_cameras(dataclasses.replace(scene.prediction, **{missing: None}), "it")
    np.testing.assert_array_equal(cameras.intrinsics, scene.prediction.intrinsics.astype(np.float64))
    np.testing.assert_array_equal(cameras.sizes, np.tile((HEIGHT, WIDTH), (4, 1)))
    np.testing.assert_array_equal(cameras.to_original, np.tile(np.eye(3), (4, 1, 1)))


@pytest.mark.parametrize("method", ["upper_bound_resize", "lower_bound_crop"])
def test_preprocessing_moves_pixel_centres_at_halves_as_from_image_says(method):
    rows, columns = np.mgrid[:200, :310] + 0.5
    x, y = 143.8, 91.3
    spot = np.rint(250 * np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / (2 * 9**2))).astype(np.uint8)
    views = preprocess(np.repeat(spot[..., None], 3, axis=2), process_res=70, process_res_method=method)
    small = views.processed_images[0, :, :, 0].astype(np.float64)
    rows, columns = np.mgrid[: small.shape[0], : small.shape[1]] + 0.5
    found = [np.average(columns, weights=small), np.average(rows, weights=small)]
    np.testing.assert_allclose(found, transform(views.from_image[0], np.array([[x, y]]))[0], atol=0.03)  # half a pixel would be 0.1 to 0.4


def test_one_view_without_a_pose_is_where_the_world_is(scene):
    one = {name: getattr(scene.prediction, name)[:1] for name in ("depth", "intrinsics", "from_image", "image_sizes")}
    cameras = original_cameras(dataclasses.replace(scene.prediction, **one, extrinsics=None), "it")
    np.testing.assert_array_equal(cameras.rotations, [np.eye(3)])
    np.testing.assert_array_equal(cameras.translations, np.zeros((1, 3)))


def test_a_rounded_rotation_becomes_a_true_one_about_the_same_centre(scene):
    rounded = np.round(scene.extrinsics, 2)
    cameras = original_cameras(dataclasses.replace(scene.prediction, extrinsics=rounded), "it")
    np.testing.assert_allclose(np.linalg.det(cameras.rotations), 1, rtol=1e-14)
    np.testing.assert_allclose(cameras.rotations, rounded[:, :, :3], atol=0.01)
    centres = -np.linalg.inv(rounded[:, :, :3]) @ rounded[:, :, 3:]
    np.testing.assert_allclose(-cameras.rotations.transpose(0, 2, 1) @ cameras.translations[:, :, None], centres, atol=1e-12)


def changed(scene, name, view, index, value):
    matrices = getattr(scene.prediction, name).astype(np.float64)
    matrices[(view, *index)] = value
    return dataclasses.replace(scene.prediction, **{name: matrices})


@pytest.mark.parametrize("name", ["extrinsics", "intrinsics", "from_image"])
@pytest.mark.parametrize("value", [np.nan, 0.0])
def test_a_camera_that_cannot_be_inverted_is_named(scene, name, value):
    prediction = changed(scene, name, 1, (), value)
    with pytest.raises(ValueError, match=f"^the model cannot be made: {name} of view 1 are not finite or cannot be inverted$"):
        original_cameras(prediction, "the model")


def test_skew_is_refused_where_it_could_be_seen(scene):
    cameras = original_cameras(changed(scene, "intrinsics", 2, (0, 1), 1e-4), "the model")
    assert cameras.intrinsics[2, 0, 1] == 0
    message = r"^the model cannot be made: intrinsics of view 2 have skew \(1\.\d pixels at the top\), which its cameras lack$"
    with pytest.raises(ValueError, match=message):
        original_cameras(changed(scene, "intrinsics", 2, (0, 1), 1.0), "the model")


@pytest.mark.parametrize("column", [0, 1])
def test_what_is_no_rotation_is_refused(scene, column):
    prediction = changed(scene, "extrinsics", 3, (slice(None), column), -scene.extrinsics[3, :, column])
    with pytest.raises(ValueError, match=r"^the model cannot be made: extrinsics of view 3 are no rotation beside a translation$"):
        original_cameras(prediction, "the model")
    scaled = changed(scene, "extrinsics", 3, (), 1.1 * scene.extrinsics[3])
    with pytest.raises(ValueError, match="extrinsics of view 3 are no rotation"):
        original_cameras(scaled, "the model")
