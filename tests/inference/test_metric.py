"""Metres from lengths that are known, on planes whose every pixel is known."""

import dataclasses
import functools
import logging

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

import da3jax
from da3jax.geometry import Alignment, Similarity, project, rays_from_cameras, unproject
from da3jax.inference.metric import _on_plane
from da3jax.types import LazyImage, Prediction
from tests.markers import draw_marker

SCALE = 2.5
"""Metres of a unit of the predictions."""
HEIGHT, WIDTH = 112, 140
INTRINSICS = np.array(
    [[[120.0, 0, 70], [0, 125, 52], [0, 0, 1]], [[140.0, 0, 64], [0, 138, 60], [0, 0, 1]], [[118.0, 0, 74], [0, 118, 56], [0, 0, 1]]]
)
CENTERS = np.array([[0.0, 0, 0], [0.3, -0.1, 0.1], [-0.4, 0.05, -0.2]])
TURNS = [(0.05, -0.1), (-0.1, 0.15), (0.12, 0.05)]  # radians about x and y
NORMAL, OFFSET = np.array([0.35, -0.25, 1.0]), 1.6  # the plane normal · x = offset, in metres
SIZE = 0.5
"""Metres, the side of the marker."""


def rotation(about_x, about_y):
    cx, sx, cy, sy = np.cos(about_x), np.sin(about_x), np.cos(about_y), np.sin(about_y)
    return np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]]) @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])


EXTRINSICS = np.stack([np.column_stack([r, -r @ c]) for r, c in zip((rotation(*t) for t in TURNS), CENTERS, strict=True)])


def plane_depth(height=HEIGHT, width=WIDTH):
    """(3, height, width) metres along z to the plane, at the centres of the cells that divide each image."""
    rays = np.asarray(rays_from_cameras(np.float32(EXTRINSICS), np.float32(INTRINSICS), (HEIGHT, WIDTH), (height, width)), np.float64)
    return (OFFSET - rays[..., 3:] @ NORMAL) / (rays[..., :3] @ NORMAL)


def marker_corners():
    """(4, 3) metres in the world, clockwise for the cameras."""
    right = np.cross([0, 1, 0], NORMAL)
    right /= np.linalg.norm(right)
    down = np.cross(NORMAL, right) / np.linalg.norm(NORMAL)
    return (
        np.array([0, 0, OFFSET])
        - 0.05 * right
        + 0.03 * down
        + SIZE * np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]]) @ np.stack([right, down])
    )


def photographs(times=1, views=(0, 1, 2)):
    """Three uint8 images, `times` as large as the processed ones, of a grey wall; the marker is printed in `views`."""
    images = np.full((3, times * HEIGHT, times * WIDTH, 3), 150, np.uint8)
    for view in views:
        corners, depth = project(marker_corners(), EXTRINSICS[view], INTRINSICS[view])
        assert (np.asarray(depth) > 0.5).all()
        draw_marker(images[view], times * np.asarray(corners, np.float64), 11)
    return images


def smaller(images, times):
    """Each `times` × `times` pixels averaged."""
    n, h, w, _ = images.shape
    return np.rint(images.reshape(n, h // times, times, w // times, times, 3).mean(axis=(2, 4))).astype(np.uint8)


@functools.cache
def true_prediction():
    extrinsics, intrinsics = np.float32(EXTRINSICS), np.float32(INTRINSICS)
    depth = np.float32(plane_depth())
    return Prediction(
        depth=depth,
        conf=np.full_like(depth, 2),
        extrinsics=extrinsics,
        intrinsics=intrinsics,
        ray=np.array(rays_from_cameras(extrinsics, intrinsics, (HEIGHT, WIDTH), (8, 10))),
        points=np.array(unproject(depth, intrinsics, extrinsics)),
        sky=np.zeros(depth.shape, bool),
        processed_images=np.full((*depth.shape, 3), 150, np.uint8),
        from_image=np.tile(np.float32(np.diag([1 / 3, 1 / 3, 1])), (3, 1, 1)),
        aux={"feat_layer_1": np.ones((3, 8, 10, 4), np.float32)},
    )


def predicted(**fields):
    """The true scene in units of `SCALE` metres."""
    true = true_prediction()
    extrinsics, ray = true.extrinsics.copy(), true.ray.copy()
    extrinsics[..., 3] /= SCALE
    ray[..., 3:] /= SCALE
    small = dataclasses.replace(true, depth=true.depth / SCALE, extrinsics=extrinsics, ray=ray, points=true.points / SCALE)
    return dataclasses.replace(small, **fields)


def lone(prediction, view=0):
    """A prediction of one view without cameras of a common world."""
    fields = {field.name: getattr(prediction, field.name) for field in dataclasses.fields(prediction)}
    kept = {name: x[view : view + 1] for name, x in fields.items() if isinstance(x, np.ndarray) and x.ndim}
    return dataclasses.replace(prediction, **kept | {"extrinsics": None})


def distances(*pairs):
    return {(i, j): float(np.linalg.norm(CENTERS[i] - CENTERS[j])) for i, j in pairs}


def sparse_depth(share=0.03, noise=0.0, wrong=0.0, size=(HEIGHT, WIDTH), seed=0):
    """(3, h, w) true depth at a share of the pixels, NaN elsewhere."""
    rng = np.random.default_rng(seed)
    depth = plane_depth(*size) * np.exp(noise * rng.standard_normal((3, *size)))
    depth = np.where(rng.random(depth.shape) < wrong, rng.uniform(0.3, 8, depth.shape), depth)
    return np.where(rng.random(depth.shape) < share, depth, np.nan)


def assert_true_scene(found, rel=1e-6):
    true = true_prediction()
    np.testing.assert_allclose(found.scale_factor, SCALE, rtol=rel)
    assert found.is_metric
    for name in ("depth", "points", "extrinsics", "ray"):
        np.testing.assert_allclose(getattr(found, name), getattr(true, name), rtol=rel, atol=5 * rel, err_msg=name)
    for name in ("conf", "intrinsics", "sky", "processed_images", "from_image"):
        np.testing.assert_array_equal(getattr(found, name), getattr(true, name), err_msg=name)
    np.testing.assert_array_equal(found.aux["feat_layer_1"], true.aux["feat_layer_1"])


def test_sparse_depth_gives_the_true_scene():
    found = da3jax.to_metres(predicted(), depth=sparse_depth())
    assert_true_scene(found)
    assert float(found.scale_residual) < 1e-6


def test_noisy_depth_with_outliers_gives_the_scale_and_says_how_well_it_fits():
    found = da3jax.to_metres(predicted(), depth=sparse_depth(noise=0.02, wrong=0.4))
    assert_true_scene(found, rel=3e-3)
    assert float(found.scale_residual) == pytest.approx(0.02 * plane_depth().mean(), rel=0.15)


def test_depth_is_taken_at_its_pixels_centres_whatever_its_size():
    half = predicted(depth=np.repeat(np.repeat(plane_depth(HEIGHT // 2, WIDTH // 2), 2, axis=1), 2, axis=2).astype(np.float32) / SCALE)
    assert float(da3jax.to_metres(half, depth=plane_depth(HEIGHT // 2, WIDTH // 2)).scale_residual) < 1e-6
    found = da3jax.to_metres(predicted(), depth=sparse_depth(size=(3 * HEIGHT, 3 * WIDTH)))
    assert_true_scene(found, rel=1e-4)
    fine = da3jax.to_metres(predicted(), depth=plane_depth(3 * HEIGHT, 3 * WIDTH)[:, 1::3, 1::3])
    assert_true_scene(fine)


def test_depth_of_photographs_of_several_sizes_is_taken_at_their_own_pixels():
    sizes, full = [(100, 140), (140, 100)], np.zeros((2, 140, 140), np.float32)
    for view, (height, width) in enumerate(sizes):
        full[view, :height, :width] = np.random.default_rng(view).uniform(1, 5, (height, width))
    native = Prediction(
        depth=full,
        extrinsics=np.float32(EXTRINSICS[:2]),
        from_image=np.tile(np.eye(3), (2, 1, 1)),
        image_sizes=np.array(sizes),
    )
    for known in ([3 * full[view, :height, :width] for view, (height, width) in enumerate(sizes)], 3 * full):
        found = da3jax.to_metres(native, depth=known)
        assert float(found.scale_factor) == pytest.approx(3, rel=1e-6)
        assert float(found.scale_residual) < 1e-5


def test_views_without_depth_zeros_and_predicted_sky_do_not_count():
    depth = np.where(np.isnan(known := sparse_depth()), 0, known)
    sky = np.zeros(known.shape, bool)
    sky[:, :40] = True
    depth[:, :40][known[:, :40] > 0] = 77
    assert_true_scene(dataclasses.replace(da3jax.to_metres(predicted(sky=sky), depth=[depth[0], None, -depth[2]]), sky=~sky & sky))


def test_masked_pixels_do_not_count():
    known = sparse_depth()
    masked = np.ma.masked_array(np.where(np.isnan(known), 77, known), np.isnan(known))
    assert_true_scene(da3jax.to_metres(predicted(), depth=masked))
    assert_true_scene(da3jax.to_metres(predicted(), depth=list(masked)))


def test_the_last_row_of_extrinsics_stays():
    extrinsics = np.concatenate([predicted().extrinsics, np.tile(np.float32([[[0, 0, 0, 1]]]), (3, 1, 1))], axis=1)
    found = da3jax.to_metres(predicted(extrinsics=extrinsics), camera_distances=distances((0, 1)))
    np.testing.assert_array_equal(found.extrinsics[:, 3], extrinsics[:, 3])
    assert_true_scene(dataclasses.replace(found, extrinsics=found.extrinsics[:, :3]))


def test_camera_distances_give_the_true_scene():
    found = da3jax.to_metres(predicted(), camera_distances=distances((0, 1), (2, 0), (1, 2)))
    assert_true_scene(found)
    assert float(found.scale_residual) < 1e-6
    assert_true_scene(da3jax.to_metres(predicted(), camera_distances=distances((0, 2))))


def test_camera_distances_that_disagree_leave_a_residual():
    off = {pair: metres * (1 + change) for (pair, metres), change in zip(distances((0, 1), (0, 2)).items(), (0.05, -0.05), strict=True)}
    found = da3jax.to_metres(predicted(), camera_distances=off)
    assert_true_scene(found, rel=0.05)
    assert 0.005 < float(found.scale_residual) < 0.05


@pytest.mark.parametrize("as_prediction", [lambda p: p, jax.device_put], ids=["numpy", "device arrays"])
def test_the_result_is_numpy_and_the_prediction_is_left_as_it_was(as_prediction):
    prediction = as_prediction(predicted())
    before = jax.tree.map(np.array, prediction)
    found = da3jax.to_metres(prediction, camera_distances=distances((0, 1)))
    assert_true_scene(found)
    assert {type(leaf) for leaf in jax.tree.leaves(found)} == {np.ndarray}
    assert not prediction.is_metric
    jax.tree.map(np.testing.assert_array_equal, prediction, before)


def test_the_alignment_still_says_how_the_network_s_world_became_that_of_the_known_cameras():
    similarity = Similarity(jnp.float32(3), jnp.float32(rotation(0.4, 0.2)), jnp.float32([1, 2, 3]))
    alignment = Alignment(similarity, jnp.bool_(True), jnp.bool_(True), jnp.ones(3, bool), jnp.float32(0.25))
    found = da3jax.to_metres(predicted(alignment=alignment), camera_distances=distances((0, 1))).alignment
    jax.tree.map(np.testing.assert_array_equal, found, alignment)


@pytest.mark.parametrize("shape", [(), (1,)])
def test_a_scale_that_was_applied_already_stays_in_the_factor(shape):
    found = da3jax.to_metres(lone(predicted(scale_factor=np.full(shape, 4, np.float32))), depth=sparse_depth()[:1])
    np.testing.assert_allclose(found.scale_factor, np.full(shape, 4 * SCALE), rtol=1e-6)
    assert found.scale_residual.shape == shape


def test_one_view_without_extrinsics_is_scaled_by_depth():
    found = da3jax.to_metres(lone(predicted(ray=None, points=None, sky=None)), depth=sparse_depth()[:1])
    np.testing.assert_allclose(found.depth, true_prediction().depth[:1], rtol=1e-6)
    assert (found.extrinsics, found.ray, found.points, found.sky) == (None, None, None, None)


def test_a_marker_in_the_processed_images_gives_the_scale():
    pytest.importorskip("cv2")
    found = da3jax.to_metres(predicted(processed_images=smaller(photographs(2), 2)), aruco_size=SIZE)
    assert float(found.scale_factor) == pytest.approx(SCALE, rel=1e-3)
    assert float(found.scale_residual) < 1e-3 * SIZE


def test_a_marker_in_the_original_images_gives_the_scale(tmp_path):
    pytest.importorskip("cv2")
    images = photographs(3)
    Image.fromarray(images[0]).save(tmp_path / "a.png")
    found = da3jax.to_metres(predicted(), aruco_size=SIZE, images=[tmp_path / "a.png", Image.fromarray(images[1]), images[2]])
    assert float(found.scale_factor) == pytest.approx(SCALE, rel=5e-4)
    assert float(found.scale_residual) < 5e-4 * SIZE
    alone = da3jax.to_metres(lone(predicted()), aruco_size=SIZE, images=str(tmp_path / "a.png"))
    assert float(alone.scale_factor) == pytest.approx(SCALE, rel=5e-4)
    lazy = da3jax.to_metres(lone(predicted()), aruco_size=SIZE, images=LazyImage("a.png", lambda: images[0]))
    assert float(lazy.scale_factor) == pytest.approx(SCALE, rel=5e-4)


def test_a_marker_that_the_processed_image_cuts_through_still_gives_the_scale():
    pytest.importorskip("cv2")
    cut = 52  # columns, to the middle of the marker in view 0
    whole = predicted()
    intrinsics, from_image = whole.intrinsics.copy(), whole.from_image.copy()
    intrinsics[:, 0, 2] -= cut
    from_image[:, 0, 2] -= cut
    right = dataclasses.replace(whole, depth=whole.depth[..., cut:], sky=None, points=None, intrinsics=intrinsics, from_image=from_image)
    found = da3jax.to_metres(lone(right), aruco_size=SIZE, images=photographs(3)[0])
    assert float(found.scale_factor) == pytest.approx(SCALE, rel=1e-3)


def test_noisy_depth_inside_a_marker_is_averaged():
    pytest.importorskip("cv2")
    prediction = predicted()
    noise = np.exp(0.03 * np.random.default_rng(0).standard_normal(prediction.depth.shape)).astype(np.float32)
    found = da3jax.to_metres(dataclasses.replace(prediction, depth=prediction.depth * noise), aruco_size=SIZE, images=photographs(3))
    assert float(found.scale_factor) == pytest.approx(SCALE, rel=0.01)


def test_a_marker_in_one_view_is_enough_and_the_log_says_where(caplog):
    pytest.importorskip("cv2")
    with caplog.at_level(logging.INFO, logger="da3jax"):
        found = da3jax.to_metres(predicted(), aruco_size=SIZE, images=list(photographs(3, views=[1])))
    assert float(found.scale_factor) == pytest.approx(SCALE, rel=5e-4)
    assert "1 ArUco markers in 1 of 3 views, 1 of them measured, numbers [11]" in caplog.text
    assert "aruco_size: 1 in the prediction is 2.5" in caplog.text


def test_a_view_whose_depth_misses_at_the_marker_is_left_out_with_a_warning(caplog):
    pytest.importorskip("cv2")
    depth = predicted().depth
    depth[0] = np.nan
    found = da3jax.to_metres(predicted(depth=depth), aruco_size=SIZE, images=photographs(3))
    assert float(found.scale_factor) == pytest.approx(SCALE, rel=5e-4)
    assert "marker 11 in view 0 is left out: it has to cover 6 pixels of depth" in caplog.text
    with pytest.raises(ValueError, match=r"none of the 3 ArUco markers that were found covers 6 pixels of depth on a plane; come nearer"):
        da3jax.to_metres(predicted(depth=np.full_like(depth, np.nan)), aruco_size=SIZE, images=photographs(3))


def test_no_marker_anywhere_is_said_with_what_would_be_right():
    pytest.importorskip("cv2")
    with pytest.raises(ValueError, match=r"no ArUco marker of DICT_4X4_50 is in any of the 3 images; aruco_size needs one in at least one"):
        da3jax.to_metres(predicted(), aruco_size=SIZE)


@pytest.mark.parametrize(
    ("fields", "arguments", "message"),
    [
        ({}, {}, "to_metres needs one of depth, camera_distances, aruco_size; it was given none of them"),
        ({}, {"depth": np.ones((3, 2, 2)), "aruco_size": 1}, "it was given depth and aruco_size"),
        ({"extrinsics": None}, {"depth": np.ones((3, 2, 2))}, "the prediction has 3 images and no cameras .* one at a time"),
        ({"extrinsics": None}, {"aruco_size": 1}, "the prediction has 3 images and no cameras"),
        ({}, {"depth": np.ones((2, 4, 4))}, "depth has 2 maps for 3 views; it is one map"),
        ({}, {"depth": 5.0}, "depth has 0 maps for 3 views; it is one map"),
        ({}, {"camera_distances": [(0, 1, 2.0)]}, r"camera_distances is a list; it maps pairs of views \(i, j\) to the metres between"),
        ({}, {"depth": [None, np.ones(4), None]}, r"depth of view 1 is of shape \(4,\) and type float64; it is a map \(h, w\) of metres"),
        ({}, {"depth": [[[1, 2], [3]], None, None]}, r"depth of view 0 is no array of numbers; it is a map \(h, w\) of metres"),
        ({}, {"depth": np.full((3, 4, 4), np.nan)}, "depth determines no scale: no length in it is finite and positive"),
        ({"sky": np.ones((3, HEIGHT, WIDTH), bool)}, {"depth": np.ones((3, 4, 4))}, "depth determines no scale"),
        ({}, {"depth": [None] * 3}, "depth determines no scale"),
        ({}, {"camera_distances": {}}, "camera_distances is empty; it maps pairs of views"),
        ({}, {"camera_distances": {0: 1.0}}, r"camera_distances has the key 0; a key is a pair of views \(i, j\)"),
        ({}, {"camera_distances": {(0, 1, 2): 1.0}}, r"the key \(0, 1, 2\); a key is a pair of views"),
        ({}, {"camera_distances": {(0, 3): 1.0}}, r"the key \(0, 3\); a key is two different views from 0 to 2"),
        ({}, {"camera_distances": {(-1, 1): 1.0}}, r"the key \(-1, 1\); a key is two different views from 0 to 2"),
        ({}, {"camera_distances": {(1, 1): 1.0}}, r"the key \(1, 1\); a key is two different views from 0 to 2"),
        ({}, {"camera_distances": {(0, 1): 0}}, "camera_distances of views 0 and 1 is 0; it is a positive number of metres"),
        ({}, {"camera_distances": {(0, 1): np.nan}}, "camera_distances of views 0 and 1 is nan; it is a positive number of metres"),
        ({}, {"camera_distances": {(0, 1): "far"}}, "camera_distances of views 0 and 1 is 'far'; it is a positive number of metres"),
        (
            {"extrinsics": np.float32(EXTRINSICS[[0, 0, 1]])},
            {"camera_distances": {(0, 1): 1.0}},
            "camera_distances of views 0 and 1 gives no scale: the prediction has them 0 apart, which may be rounding; choose views",
        ),
        ({}, {"aruco_size": -1}, "aruco_size is -1; it is a positive number of metres"),
        ({"intrinsics": None}, {"aruco_size": 1}, "aruco_size needs cameras to measure markers with, .* intrinsics is None"),
        ({"processed_images": None}, {"aruco_size": 1}, "aruco_size needs images to find markers in: .* no processed_images"),
        ({"from_image": None}, {"aruco_size": 1, "images": ["a.jpg"]}, "images need the prediction's from_image, which is None"),
        ({}, {"aruco_size": 1, "images": ["a.jpg"]}, "there are 1 images for the prediction's 3 views; they are those it was made from"),
    ],
)  # fmt: skip
def test_what_gives_no_scale_is_refused_with_a_sentence(fields, arguments, message):
    with pytest.raises(ValueError, match=message):
        da3jax.to_metres(predicted(**fields), **arguments)


def test_distances_need_cameras():
    with pytest.raises(ValueError, match="camera_distances needs cameras, but the prediction's extrinsics is None"):
        da3jax.to_metres(lone(predicted()), camera_distances={(0, 1): 1.0})


def test_a_known_pixel_is_that_in_which_its_centre_lies():
    depth = np.random.default_rng(0).uniform(1, 5, (1, 112, 140)).astype(np.float32)
    prediction = Prediction(depth=depth)
    for known in (3 * depth[:, 1::2, 1::2], 3 * depth[:, 2:112:4, 2::4]):
        found = da3jax.to_metres(prediction, depth=known)
        assert float(found.scale_factor) == pytest.approx(3, rel=1e-6)
        assert float(found.scale_residual) < 1e-5


def test_depth_at_a_markers_edge_may_be_that_of_what_is_behind():
    pytest.importorskip("cv2")
    prediction = predicted()
    corners = np.asarray(project(marker_corners(), EXTRINSICS[0], INTRINSICS[0])[0])
    middle = corners.mean(axis=0)
    rows, columns = np.mgrid[:HEIGHT, :WIDTH] + 0.5
    inner = middle + 0.92 * (corners - middle)
    sides, ways = np.roll(inner, -1, axis=0) - inner, np.stack([columns, rows], axis=-1)[..., None, :] - inner
    inside = (sides[:, 0] * ways[..., 1] - sides[:, 1] * ways[..., 0] > 0).all(axis=-1)
    depth = np.where(inside, prediction.depth, 2 * prediction.depth)
    found = da3jax.to_metres(lone(predicted(depth=depth)), aruco_size=SIZE, images=photographs(3)[0])
    assert float(found.scale_factor) == pytest.approx(SCALE, rel=1e-3)


def test_cameras_that_lie_apart_by_rounding_alone_give_no_scale():
    extrinsics = np.float32(EXTRINSICS[[0, 0, 1]])
    extrinsics[1, 0, 3] += np.float32(3e-7)
    said = "camera_distances of views 0 and 1 gives no scale: the prediction has them 3e-07 apart, which may be"
    with pytest.raises(ValueError, match=said):
        da3jax.to_metres(predicted(extrinsics=extrinsics), camera_distances={(0, 1): 1.0})


def test_a_plane_that_a_corner_lies_beyond_the_horizon_of_gives_no_corners():
    depth = np.broadcast_to(1 / (0.5 - 0.01 * (np.arange(40) + 0.5)), (40, 40))
    intrinsics = np.array([[40.0, 0, 20], [0, 40, 20], [0, 0, 1]])
    for right, found in ((45, True), (90, False)):
        quad = np.array([[10.0, 10], [right, 10], [right, 30], [10, 30]])
        assert (_on_plane(quad, depth, depth > 0, intrinsics) is not None) == found
