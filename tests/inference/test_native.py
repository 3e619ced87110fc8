"""Predictions at the size of the photographs: a plane seen by cameras, cropped and resized as the network's input is."""

import dataclasses
import pathlib

import jax
import numpy as np
import pytest
from PIL import Image

import da3jax
from da3jax.inference import upsampling
from da3jax.types import Gaussians, Prediction

PROCESSED = (28, 42)
NORMAL, OFFSET = np.array([0.3, -0.2, 1.0]), 4.0


def rotation(angle):
    return np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])


def depth_of_plane(intrinsics, extrinsics, size):
    """(H, W) and the points (H, W, 3) where the rays through the pixels' centres meet the plane."""
    y, x = np.mgrid[: size[0], : size[1]] + 0.5
    directions = np.stack([x, y, np.ones(size)], axis=-1) @ (extrinsics[:, :3].T @ np.linalg.inv(intrinsics)).T
    centre = -extrinsics[:, :3].T @ extrinsics[:, 3]
    depth = (OFFSET - NORMAL @ centre) / (directions @ NORMAL)
    return depth, centre + depth[..., None] * directions


def make(sizes, changes):
    """Pictures, their intrinsics, and the prediction made of them; `changes` from their pixels to the processed ones."""
    rng = np.random.default_rng(0)
    pictures = [rng.integers(1, 256, (*size, 3), dtype=np.uint8) for size in sizes]
    intrinsics = np.stack([np.array([[0.8 * w, 0, 0.52 * w], [0, 1.1 * h, 0.47 * h], [0, 0, 1]]) for h, w in sizes])
    extrinsics = np.stack([np.column_stack([rotation(0.1 * k), [0.3 * k, 0.1, -0.2 * k]]) for k in range(len(sizes))])
    processed = changes @ intrinsics
    depth, points = (np.stack(x) for x in zip(*map(depth_of_plane, processed, extrinsics, [PROCESSED] * len(sizes)), strict=True))
    prediction = Prediction(
        depth=depth.astype(np.float32),
        conf=(1 + depth).astype(np.float32),
        extrinsics=extrinsics.astype(np.float32),
        intrinsics=processed.astype(np.float32),
        points=points.astype(np.float32),
        sky=np.zeros(depth.shape, bool),
        processed_images=rng.integers(0, 256, (*depth.shape, 3), dtype=np.uint8),
        from_image=changes,
        image_sizes=np.array(sizes),
    )
    return pictures, intrinsics, prediction


def scaled(size):
    return np.diag([PROCESSED[1] / size[1], PROCESSED[0] / size[0], 1.0])


@pytest.fixture
def resized():
    """Two views of one size."""
    size = (90, 130)
    return make([size] * 2, np.stack([scaled(size)] * 2))


@pytest.fixture
def cropped():
    """A crop of a view whose height loses 6.5 pixels of the processed image at each end."""
    return make([(90, 130)], np.array([[[42 / 130, 0, 0], [0, 41 / 90, -6.5], [0, 0, 1]]]))


def test_depth_points_and_cameras_are_those_of_the_photographs_pixels(resized):
    pictures, intrinsics, prediction = resized
    native = da3jax.to_native(prediction, pictures)
    np.testing.assert_allclose(native.intrinsics, intrinsics, rtol=1e-5)
    np.testing.assert_array_equal(native.extrinsics, prediction.extrinsics)
    for view in range(2):
        depth, points = depth_of_plane(intrinsics[view], prediction.extrinsics[view].astype(np.float64), (90, 130))
        np.testing.assert_allclose(native.depth[view], depth, rtol=1e-3)
        np.testing.assert_allclose(native.points[view], points, atol=5e-3)
        np.testing.assert_array_equal(native.processed_images[view], pictures[view])
    np.testing.assert_array_equal(native.network_from_image, prediction.from_image)  # rays and features stay there
    np.testing.assert_array_equal(native.from_image, np.stack([np.eye(3)] * 2))
    np.testing.assert_array_equal(native.image_sizes, prediction.image_sizes)
    assert native.conf.min() >= 1
    assert native.sky.dtype == bool
    assert not native.sky.any()


def test_a_pixels_ray_is_the_one_it_was(resized):
    _, _, prediction = resized
    native = da3jax.to_native(prediction)
    pixels = np.random.default_rng(0).uniform(0, 90, (20, 3)) * [1, 1, 0] + [0, 0, 1]
    for before, after, change in zip(prediction.intrinsics, native.intrinsics, prediction.from_image, strict=True):
        np.testing.assert_allclose(np.linalg.solve(after, pixels.T), np.linalg.solve(before, change @ pixels.T), rtol=1e-4, atol=1e-5)


def test_what_a_crop_left_out_has_no_depth_confidence_or_point(cropped):
    pictures, intrinsics, prediction = cropped
    native = da3jax.to_native(prediction, pictures)
    rows = (np.arange(90) + 0.5) * 41 / 90 - 6.5
    inside = (rows >= 0) & (rows <= 28)
    assert (inside[0], inside[45], inside[-1]) == (False, True, False)
    for field in (native.depth, native.conf, native.points[..., 0]):
        np.testing.assert_array_equal((field[0] != 0) & np.isfinite(field[0]), np.broadcast_to(inside[:, None], (90, 130)))
    depth, _ = depth_of_plane(intrinsics[0], prediction.extrinsics[0], (90, 130))
    np.testing.assert_allclose(native.depth[0, inside], depth[inside], rtol=1e-3)
    np.testing.assert_array_equal(native.processed_images[0], pictures[0])


def test_views_of_several_sizes_lie_in_the_upper_left_of_shared_arrays():
    sizes = [(90, 130), (100, 60)]
    pictures, intrinsics, prediction = make(sizes, np.stack([scaled(size) for size in sizes]))
    native = da3jax.to_native(prediction, pictures)
    assert native.depth.shape == (2, 100, 130)
    np.testing.assert_allclose(native.intrinsics, intrinsics, rtol=1e-5)
    for view, (height, width) in enumerate(sizes):
        np.testing.assert_array_equal(native.processed_images[view, :height, :width], pictures[view])
        depth, _ = depth_of_plane(intrinsics[view], prediction.extrinsics[view], (height, width))
        np.testing.assert_allclose(native.depth[view, :height, :width], depth, rtol=1e-3)
        for field in (native.depth, native.conf, native.processed_images):
            beyond = field[view].copy()
            beyond[:height, :width] = 0
            assert (beyond == 0).all()
    jax.tree.map(np.testing.assert_array_equal, da3jax.to_native(native, pictures), native)


@pytest.mark.parametrize("method", upsampling.METHODS)
def test_the_same_call_gives_the_same_bits_and_leaves_the_prediction_as_it_was(resized, method):
    pictures, _, prediction = resized
    before = jax.tree.map(np.copy, prediction)
    one, other = (da3jax.to_native(prediction, pictures, method=method) for _ in range(2))
    jax.tree.map(np.testing.assert_array_equal, one, other)
    jax.tree.map(np.testing.assert_array_equal, prediction, before)


def test_without_images_there_are_no_pictures(resized):
    pictures, _, prediction = resized
    native = da3jax.to_native(prediction)
    assert native.processed_images is None
    np.testing.assert_allclose(native.depth, da3jax.to_native(prediction, pictures).depth, rtol=1e-6)


def test_what_a_prediction_lacks_stays_away_and_the_rest_stays(resized):
    pictures, _, prediction = resized
    depth = prediction.depth
    bare = Prediction(depth=depth, from_image=prediction.from_image, image_sizes=prediction.image_sizes)
    native = da3jax.to_native(bare, pictures)
    np.testing.assert_allclose(native.depth, da3jax.to_native(prediction, pictures).depth, rtol=1e-6)
    assert all(getattr(native, name) is None for name in ("conf", "sky", "intrinsics", "extrinsics", "points"))
    gaussians = Gaussians(*(np.ones((2, *PROCESSED, *tail)) for tail in ((3,), (3,), (4,), (3, 9), ())))
    kept = {"ray": np.ones((2, 4, 6, 6)), "aux": {"feat_layer_1": np.ones((2, 2, 3, 5))}, "is_metric": True}
    native = da3jax.to_native(dataclasses.replace(prediction, **kept, intrinsics=None, gaussians=gaussians), pictures)
    jax.tree.map(np.testing.assert_array_equal, {name: getattr(native, name) for name in kept}, kept)
    assert native.points is None
    assert native.gaussians is None


def test_points_of_independent_images_are_in_their_cameras_frames(resized):
    pictures, intrinsics, prediction = resized
    native = da3jax.to_native(dataclasses.replace(prediction, extrinsics=None), pictures)
    pixels = native.points[1] @ intrinsics[1].T
    np.testing.assert_allclose(pixels[..., 2], native.depth[1], rtol=1e-5)
    np.testing.assert_allclose(pixels[20, 30] / pixels[20, 30, 2], [30.5, 20.5, 1], rtol=1e-4)


def test_files_are_read_and_device_arrays_fetched(resized, tmp_path):
    pictures, _, prediction = resized
    for view, picture in enumerate(pictures):
        Image.fromarray(picture).save(tmp_path / f"{view}.png")
    on_device = dataclasses.replace(prediction, depth=jax.numpy.asarray(prediction.depth))
    native = da3jax.to_native(on_device, sorted(tmp_path.iterdir()))
    assert isinstance(native.depth, np.ndarray)
    np.testing.assert_array_equal(native.processed_images, np.stack(pictures))


def test_inference_does_it_on_request(model, images, tmp_path):
    small = model.inference(images, process_res=56)
    native = model.inference(
        images, process_res=56, native_resolution=True, export_dir=tmp_path, export_format="npz-glb-depth_vis", conf_thresh_percentile=0
    )
    jax.tree.map(np.testing.assert_array_equal, native, da3jax.to_native(small, images))
    assert native.depth.shape == (3, 60, 80)
    np.testing.assert_array_equal(native.processed_images, np.stack(images))
    with np.load(tmp_path / "exports" / "npz" / "results.npz", allow_pickle=False) as written:
        np.testing.assert_array_equal(written["depth"], native.depth)
        np.testing.assert_array_equal(written["intrinsics"], native.intrinsics)
    assert pathlib.Path(tmp_path, "scene.glb").exists()


def test_a_prediction_cropped_by_the_method_is_placed_right(model, images):
    native = model.inference(images, process_res=70, process_res_method="upper_bound_crop", native_resolution=True)
    assert native.depth.shape == (3, 60, 80)
    rows, columns = (np.flatnonzero((native.depth[0] > 0).any(axis=axis)) for axis in (1, 0))
    assert (columns[0], columns[-1]) == (0, 79)
    # 70 × 52 becomes 70 × 42: 5 rows of 52 are cut off at each end of 60.
    assert (rows[0], rows[-1]) == (6, 53)
    assert (native.conf[0, 6:54] >= 1).all()


@pytest.mark.integration
def test_metric_networks_and_nested_ones_come_at_the_photographs_size(metric, nested, images):
    intrinsics = np.tile(np.array([[70.0, 0, 40], [0, 70, 30], [0, 0, 1]]), (2, 1, 1))
    for network in (metric, nested):
        native = network.inference(images[:2], process_res=56, native_resolution=True, intrinsics=intrinsics)
        assert native.depth.shape == native.sky.shape == (2, 60, 80)
        np.testing.assert_allclose(native.intrinsics, intrinsics, rtol=1e-5)


def test_device_arrays_cannot_be_asked_for_at_that_size(model, images):
    with pytest.raises(ValueError, match=r"^native_resolution is computed on the host, and as_numpy=False leaves the result on the device"):
        model.inference(images, native_resolution=True, as_numpy=False)


def test_gaussians_cannot_be_asked_for_at_that_size(model, images, tmp_path):
    message = r"^Gaussians belong to the processed images' pixels, which native_resolution replaces; ask for one of the two$"
    with pytest.raises(ValueError, match=message):
        model.inference(images, native_resolution=True, infer_gs=True)
    with pytest.raises(ValueError, match=message):
        model.inference(images, native_resolution=True, export_dir=tmp_path, export_format="gs_ply")


def test_an_unknown_method_is_named(resized):
    with pytest.raises(ValueError, match=r"'edge_awar'.*did you mean 'edge_aware'"):
        da3jax.to_native(resized[2], method="edge_awar")


@pytest.mark.parametrize("name", ["from_image", "image_sizes"])
def test_a_prediction_that_does_not_know_its_images_is_refused(resized, name):
    with pytest.raises(ValueError, match=f"^to_native needs the prediction's {name}, which is None; predictions of `inference` have it$"):
        da3jax.to_native(dataclasses.replace(resized[2], **{name: None}))


@pytest.mark.parametrize(("place", "value"), [((0, 1), 0.1), ((0, 0), -1.0), ((2, 2), 2.0)])
def test_images_that_were_turned_are_refused(resized, place, value):
    prediction = resized[2]
    prediction.from_image[1][place] = value
    with pytest.raises(ValueError, match=r"^from_image of view 1 is .*; it scales and moves pixels, and does nothing else$"):
        da3jax.to_native(prediction)


def test_as_many_images_as_views_are_needed(resized):
    with pytest.raises(ValueError, match=r"^there are 1 images for the prediction's 2 views; they are those that it was made of$"):
        da3jax.to_native(resized[2], resized[0][:1])


def test_as_many_are_needed_where_nothing_is_to_be_done(model, images):
    pictures = [image[:56, :70] for image in images]
    prediction = model.inference(pictures, process_res=70)
    assert da3jax.to_native(prediction, pictures).depth.shape == (3, 56, 70)
    with pytest.raises(ValueError, match=r"^there are 1 images for the prediction's 3 views; they are those that it was made of$"):
        da3jax.to_native(prediction, pictures[:1])


def test_an_image_of_another_size_is_named(resized):
    pictures, _, prediction = resized
    message = r"^image 1 is 90 × 120 \(H × W\), but view 1 of the prediction was made of an image of 90 × 130; give the images that it was"
    with pytest.raises(ValueError, match=message):
        da3jax.to_native(prediction, [pictures[0], pictures[1][:, :120]])
