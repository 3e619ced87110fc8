"""Whatever is done to a view's picture, its camera still says where its pixels lie in the world."""

import numpy as np
import pytest

from da3jax.training.data.view import View, crop_and_resize, mirror, quarter_turn, relative_to_first
from tests.training.data.plane import HEIGHT, WIDTH, plane_depth


@pytest.fixture
def views(truth):
    unknown = np.full((HEIGHT, WIDTH), np.nan, np.float32)
    rows = zip(truth.images, truth.depth, truth.extrinsics, truth.intrinsics, strict=True)
    return [View(image, depth, unknown, pose, k) for image, depth, pose, k in rows]


def world_points(view):
    v, u = np.meshgrid(np.arange(view.depth.shape[0]) + 0.5, np.arange(view.depth.shape[1]) + 0.5, indexing="ij")
    camera = view.depth[..., None] * (np.stack([u, v, np.ones_like(u)], axis=-1) @ np.linalg.inv(view.intrinsics).T)
    return (camera - view.extrinsics[:, 3]) @ view.extrinsics[:, :3]


def check_reprojection(first, second):
    """Points of the first view, projected into the second, have its depth there; both see one plane, on which 1 / depth is affine."""
    seen = world_points(first) @ second.extrinsics[:, :3].T + second.extrinsics[:, 3]
    pixel = seen @ second.intrinsics.T
    u, v = pixel[..., 0] / pixel[..., 2], pixel[..., 1] / pixel[..., 2]
    height, width = second.depth.shape
    inside = (u > 0.5) & (u < width - 0.5) & (v > 0.5) & (v < height - 0.5)
    assert inside.mean() > 0.1
    x, y = (u - 0.5)[inside], (v - 0.5)[inside]
    left, top = np.floor(x).astype(int), np.floor(y).astype(int)
    x, y = x - left, y - top
    at = [[(1 / second.depth)[top + i, left + j] for j in (0, 1)] for i in (0, 1)]
    inverse = (1 - y) * ((1 - x) * at[0][0] + x * at[0][1]) + y * ((1 - x) * at[1][0] + x * at[1][1])
    np.testing.assert_allclose(seen[..., 2][inside], 1 / inverse, rtol=1e-5)


CHANGES = {
    "nothing": lambda view: view,
    "crop": lambda view: crop_and_resize(view, (42, 56), 0.7, (0.7, -0.4)),
    "a third": lambda view: crop_and_resize(view, (14, 28), 42 / 45, (-1, 1)),
    "mirror": mirror,
    "turn": quarter_turn,
    "three turns": lambda view: quarter_turn(quarter_turn(quarter_turn(view))),
    "mirror, turn, crop to a third": lambda view: crop_and_resize(quarter_turn(mirror(view)), (28, 14), 42 / 45, (1, 0.2)),
}


@pytest.mark.parametrize("change", CHANGES)
def test_points_of_one_view_have_the_depth_of_the_other(views, change):
    first, second = (CHANGES[change](view) for view in (views[0], views[2]))
    check_reprojection(first, second)
    check_reprojection(second, first)


@pytest.mark.parametrize("change", ["crop", "a third"])
def test_the_camera_sees_the_plane_at_the_depth_of_the_cut(views, change):
    view = CHANGES[change](views[1])
    expected = plane_depth(view.extrinsics[None], view.intrinsics[None], *view.depth.shape)[0]
    np.testing.assert_allclose(view.depth, expected, rtol=1e-6)


def test_shrinking_by_a_fraction_takes_the_nearest_depth_and_scales_each_axis_by_itself(views):
    view = crop_and_resize(views[1], (28, 28))
    assert view.image.shape == (28, 28, 3)
    np.testing.assert_allclose(np.diag(view.intrinsics), [71 * 28 / 60, 71 * 28 / 60, 1])
    expected = plane_depth(view.extrinsics[None], view.intrinsics[None], 28, 28)[0]
    np.testing.assert_allclose(view.depth, expected, rtol=0.01)


def test_a_crop_lies_about_the_principal_point_as_far_as_the_image_reaches(views):
    view = crop_and_resize(views[0], (14, 14), 30 / 60)
    np.testing.assert_allclose(view.intrinsics[:2, 2], [7, 7], atol=0.5 * 14 / 30)
    np.testing.assert_allclose(crop_and_resize(views[0], (60, 90)).intrinsics, views[0].intrinsics)


def test_images_are_averaged_to_shrink_and_interpolated_to_grow(views):
    third = crop_and_resize(views[0], (20, 30))
    mean = views[0].image.reshape(20, 3, 30, 3, 3).mean(axis=(1, 3))
    np.testing.assert_allclose(third.image, mean, atol=0.51)
    grown = crop_and_resize(
        View(np.full((10, 10, 3), 77, np.uint8), *(np.ones((10, 10), np.float32),) * 2, np.eye(3, 4), np.eye(3)), (28, 28)
    )
    assert np.all(grown.image == 77)
    np.testing.assert_allclose(grown.intrinsics, np.diag([2.8, 2.8, 1]))


def test_pictures_depth_and_sky_move_together(views):
    marked = View(
        np.repeat(views[0].depth[..., None].astype(np.uint8), 3, axis=-1),
        np.floor(views[0].depth),
        views[0].depth,
        views[0].extrinsics,
        views[0].intrinsics,
    )
    for change in (mirror, quarter_turn):
        view = change(marked)
        assert np.array_equal(view.image[..., 0], view.depth)
        assert np.array_equal(np.floor(view.sky), view.depth)
    assert np.array_equal(quarter_turn(marked).depth[0], marked.depth[:, -1])
    assert np.array_equal(mirror(marked).depth[:, 0], marked.depth[:, -1])


@pytest.mark.parametrize("change", [mirror, quarter_turn])
def test_rotations_stay_rotations_and_repeating_comes_back(views, change):
    view = views[3]
    rotation = change(view).extrinsics[:, :3]
    np.testing.assert_allclose(rotation @ rotation.T, np.eye(3), atol=1e-12)
    np.testing.assert_allclose(np.linalg.det(rotation), 1)
    for _ in range(2 if change is mirror else 4):
        view = change(view)
    np.testing.assert_allclose(view.extrinsics, views[3].extrinsics, atol=1e-12)
    np.testing.assert_allclose(view.intrinsics, views[3].intrinsics)
    assert np.array_equal(view.image, views[3].image)


def test_the_first_camera_becomes_the_world_far_from_the_origin_too(truth):
    far = truth.extrinsics.copy()
    far[:, :, 3] -= far[:, :, :3] @ np.array([4e5, -3e6, 2e5])  # metres of a map projection, at which float32 steps by 0.25
    np.testing.assert_allclose(relative_to_first(far), relative_to_first(truth.extrinsics), atol=1e-8)
    np.testing.assert_allclose(relative_to_first(far)[0], np.eye(3, 4), atol=1e-12)
