"""Ground truth in the first view's frame and at one scale."""

import jax
import numpy as np
import pytest

from da3jax import geometry
from da3jax.training.losses import normalize_targets

RNG = np.random.default_rng(0)
SHAPE = (2, 3, 14, 28)
DEPTH = RNG.uniform(1, 4, SHAPE).astype(np.float32)
MASK = RNG.random(SHAPE) > 0.2
INTRINSICS = np.tile(np.float32([[20, 0, 13], [0, 18, 8], [0, 0, 1]]), (2, 3, 1, 1))
EXTRINSICS = np.concatenate(
    [
        geometry.rotation_from_axis_angle(RNG.standard_normal((2, 3, 3)).astype(np.float32)),
        RNG.standard_normal((2, 3, 3, 1)).astype(np.float32),
    ],
    axis=-1,
)
FIELDS = ("depth", "points", "ray", "pose_enc", "extrinsics")

normalize = jax.jit(normalize_targets)


def assert_same(found, wanted):
    for name in FIELDS:
        np.testing.assert_allclose(getattr(found, name), getattr(wanted, name), atol=2e-5, err_msg=name)
    for name in ("mask", "point_mask", "camera_mask"):
        np.testing.assert_array_equal(getattr(found, name), getattr(wanted, name), err_msg=name)


def test_a_camera_two_metres_in_front_of_a_wall_by_hand():
    extrinsics = np.tile(np.eye(3, 4, dtype=np.float32), (1, 2, 1, 1))
    extrinsics[0, :, :, 3] = [[5, 0, 0], [4, 0, 0]]  # centres (−5, 0, 0) and (−4, 0, 0)
    intrinsics = np.tile(np.float32([[7, 0, 7], [0, 7, 7], [0, 0, 1]]), (1, 2, 1, 1))
    mask = np.zeros((1, 2, 14, 14), bool)
    mask[0, 0, 6, 6] = mask[0, 1, 6, 6] = True
    depth = np.where(mask, np.float32(2), np.nan)
    found = normalize(depth, extrinsics, intrinsics, mask)
    points = np.array([[-1 / 7, -1 / 7, 2], [6 / 7, -1 / 7, 2]])  # the pixel's centre is half a pixel left of and above the image's
    scale = np.linalg.norm(points, axis=1).mean()
    assert float(found.scale[0]) == pytest.approx(scale)
    np.testing.assert_allclose(found.points[0, :, 6, 6], points / scale, rtol=1e-5)
    np.testing.assert_allclose(found.depth[0, :, 6, 6], 2 / scale, rtol=1e-6)
    assert float(np.abs(found.depth).sum()) == pytest.approx(4 / scale)
    # eight rays over two half sizes of 1: centres at ±1/8, …, ±7/8
    np.testing.assert_allclose(found.ray[0, 1, 0, 7], [7 / 8, -7 / 8, 1, 1 / scale, 0, 0], atol=1e-6)
    np.testing.assert_allclose(found.pose_enc[0, 1], [1 / scale, 0, 0, 0, 0, 0, 1, np.pi / 2, np.pi / 2], atol=1e-6)
    np.testing.assert_allclose(found.extrinsics[0, 1, :, 3], [-1 / scale, 0, 0], atol=1e-6)


def test_the_mean_distance_of_valid_points_is_one():
    found = normalize(DEPTH, EXTRINSICS, INTRINSICS, MASK)
    distances = np.linalg.norm(found.points, axis=-1)
    np.testing.assert_allclose([distances[i][MASK[i]].mean() for i in range(2)], 1, rtol=1e-5)
    np.testing.assert_array_equal(found.point_mask, MASK)


def test_moving_and_scaling_the_world_changes_nothing():
    wanted = normalize(DEPTH, EXTRINSICS, INTRINSICS, MASK)
    turn = geometry.rotation_from_axis_angle(np.float32([[0.3, -1, 2], [1, 0.1, 0.4]]))
    world = np.concatenate([turn, np.float32([[1, -3, 2], [0, 5, 1]])[..., None]], axis=-1)[:, None]
    moved = np.array(geometry.compose_rigid(EXTRINSICS, world))
    assert_same(normalize(DEPTH, moved, INTRINSICS, MASK), wanted)
    each = np.float32([0.01, 30]).reshape(2, 1, 1, 1)
    moved[..., 3] *= each[..., 0]
    found = normalize(each * DEPTH, moved, INTRINSICS, MASK)
    assert_same(found, wanted)
    np.testing.assert_allclose(found.scale, wanted.scale * each.ravel(), rtol=1e-5)


def test_depth_rays_and_points_agree():
    found = normalize(DEPTH, EXTRINSICS, INTRINSICS, MASK)
    points = np.asarray(geometry.points_from_rays(found.depth, found.ray))
    np.testing.assert_allclose(points[MASK], np.asarray(found.points)[MASK], atol=1e-5)
    decoded, _ = geometry.decode_pose(found.pose_enc, 14, 28)
    np.testing.assert_allclose(decoded, found.extrinsics, atol=1e-5)
    np.testing.assert_array_equal(found.extrinsics[:, 0], np.tile(np.eye(3, 4), (2, 1, 1)))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -1, 0])
def test_depth_that_is_no_depth_does_not_count(wrong):
    depth, claimed, right = DEPTH.copy(), MASK.copy(), MASK.copy()
    depth[0, 0, 3, 4], claimed[0, 0, 3, 4], right[0, 0, 3, 4] = wrong, True, False
    assert_same(normalize(depth, EXTRINSICS, INTRINSICS, claimed), normalize(DEPTH, EXTRINSICS, INTRINSICS, right))


def test_a_view_without_a_camera_has_depth_and_no_points_or_rays():
    extrinsics = EXTRINSICS.copy()
    extrinsics[0, 2] = np.nan
    found = normalize(DEPTH, extrinsics, INTRINSICS, MASK)
    np.testing.assert_array_equal(found.camera_mask, [[True, True, False], [True, True, True]])
    np.testing.assert_array_equal(found.mask, MASK)
    assert not np.asarray(found.point_mask[0, 2]).any()
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(found))
    assert not np.asarray(found.ray[0, 2]).any()


def test_a_single_view_needs_no_extrinsics():
    nowhere = np.full((2, 1, 3, 4), np.nan, np.float32)
    found = normalize(DEPTH[:, :1], nowhere, INTRINSICS[:, :1], MASK[:, :1])
    assert_same(found, normalize(DEPTH[:, :1], EXTRINSICS[:, :1], INTRINSICS[:, :1], MASK[:, :1]))
    assert np.asarray(found.camera_mask).all()


@pytest.mark.parametrize("axis", [0, 1])
def test_intrinsics_without_a_focal_length_are_no_camera(axis):
    intrinsics = INTRINSICS.copy()
    intrinsics[1, 1, axis, axis] = 0
    found = normalize(DEPTH, EXTRINSICS, intrinsics, MASK)
    np.testing.assert_array_equal(found.camera_mask, [[True, True, True], [True, False, True]])
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(found))


def test_nothing_counts_in_a_scene_without_a_valid_point():
    mask = MASK.copy()
    mask[1] = False
    found = normalize(np.where(mask, DEPTH, np.nan), EXTRINSICS, INTRINSICS, mask)
    assert float(found.scale[1]) == 0
    np.testing.assert_array_equal(found.camera_mask, [[True] * 3, [False] * 3])
    assert all(np.isfinite(x).all() for x in jax.tree.leaves(found))
