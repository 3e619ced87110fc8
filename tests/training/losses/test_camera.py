"""Rays, points and pose encodings against the truth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax import geometry
from da3jax.training import losses
from da3jax.training.losses import camera

RNG = np.random.default_rng(0)
RAY, TRUE_RAY = RNG.standard_normal((2, 2, 3, 4, 6)).astype(np.float32)
DEPTH = RNG.uniform(1, 3, (2, 6, 8)).astype(np.float32)
POINTS = RNG.standard_normal((2, 6, 8, 3)).astype(np.float32)
MASK = RNG.random((2, 3, 4)) > 0.3
POINT_MASK = RNG.random((2, 6, 8)) > 0.3

camera_losses, point_loss, ray_loss = map(jax.jit, (losses.camera_losses, losses.point_loss, losses.ray_loss))
pose_spread = jax.jit(camera.pose_spread)


def test_ray_loss_by_hand():
    ray, target = np.float32([[1, 2, 3, 0, 0, 0], [9, 9, 9, 9, 9, 9]]), np.float32([[1, 0, 3, 0, 0, 4], [0, 0, 0, 0, 0, 0]])
    mask = np.array([True, False])
    assert float(ray_loss(ray, target, mask)) == 1  # (2 + 4) / 6
    assert float(ray_loss(ray, target, mask, np.float32([3, 5]))) == pytest.approx(3 - 0.2 * np.log(3))


def test_point_loss_by_hand():
    ray = np.zeros((1, 1, 2, 6), np.float32)
    ray[..., :3], ray[..., 3:] = [0, 0.5, 1], [1, 0, 0]
    depth = np.float32([[[2, 4]]])
    target = np.float32([[[[1, 1, 5], [0, 0, 0]]]])
    # points (1, 1, 2) and (1, 2, 4), distances 3 / 3 and 7 / 3
    assert float(point_loss(depth, ray, target, np.array([[[True, True]]]))) == pytest.approx(5 / 3)
    found = point_loss(depth, ray, target, np.array([[[True, False]]]), np.float32([[[2, 1]]]))
    assert float(found) == pytest.approx(2 - 0.2 * np.log(2))


def test_points_of_true_depth_and_rays_have_no_loss_though_the_ray_map_is_smaller():
    extrinsics = np.eye(3, 4, dtype=np.float32)[None]
    extrinsics[0, :, 3] = [0.3, -0.2, 1]
    intrinsics = np.float32([[[9, 0, 4.2], [0, 8, 2.9], [0, 0, 1]]])
    depth = DEPTH[:1]
    points = geometry.unproject(depth, intrinsics, extrinsics)
    ray = geometry.rays_from_cameras(extrinsics, intrinsics, (6, 8), (3, 4))
    assert float(point_loss(depth, ray, points, POINT_MASK[:1])) == pytest.approx(0, abs=1e-6)


def test_camera_losses_by_hand():
    pose = np.float32([[1, 2, 3, 0, 0, 0, 1, 0.5, 0.6], [5] * 9])
    target = np.float32([[1, 2, 6, 0, 0, 0.6, 0.8, 0.9, 0.6], [0] * 9])
    found = camera_losses(pose, target, np.array([True, False]))
    assert {name: float(value) for name, value in found.items()} == pytest.approx({"translation": 1, "quaternion": 0.2, "fov": 0.2})


def test_a_quaternion_and_its_negative_are_the_same():
    pose, target = RNG.standard_normal((2, 5, 9)).astype(np.float32)
    flipped = target.copy()
    flipped[:, 3:7] *= -1
    mask = np.ones(5, bool)
    assert camera_losses(pose, target, mask)["quaternion"] == camera_losses(pose, flipped, mask)["quaternion"]
    assert float(camera_losses(flipped, target, mask)["quaternion"]) == 0


def test_each_camera_is_compared_with_the_nearer_of_the_two_quaternions_as_a_whole():
    pose, target = np.zeros((2, 2, 9), np.float32)
    pose[:, 3:7], target[:, 3:7] = [0.6, 0, 0, 0.8], [[-0.6, 0, 0, 0.8], [-0.6, 0, 0, -0.8]]
    # of the first camera 1.2 / 4 and not 1.6 / 4, of the second nothing
    assert float(camera_losses(pose, target, np.ones(2, bool))["quaternion"]) == pytest.approx(0.3 / 2)


def test_gradients_are_numerical_differences(assert_gradients):
    assert_gradients(lambda ray: ray_loss(ray, jnp.asarray(TRUE_RAY, ray.dtype), MASK), RAY)
    assert_gradients(lambda d, ray: point_loss(d, ray, jnp.asarray(POINTS, d.dtype), POINT_MASK), DEPTH, RAY)
    pose, target = RNG.standard_normal((2, 5, 9))
    mask = np.arange(5) != 2
    assert_gradients(lambda p: sum(camera_losses(p, jnp.asarray(target), mask).values()), pose)


def test_what_is_not_in_the_mask_does_not_leak(assert_nothing_leaks):
    assert_nothing_leaks(ray_loss, RAY, TRUE_RAY, MASK)
    assert_nothing_leaks(lambda depth, points, mask: point_loss(depth, RAY, points, mask), DEPTH, POINTS, POINT_MASK)
    pose, target = RNG.standard_normal((2, 5, 9))
    assert_nothing_leaks(lambda p, t, m: sum(camera_losses(p, t, m).values()), pose, target, np.arange(5) != 2)


def test_rays_of_pixels_without_depth_are_not_moved_by_the_point_loss():
    gradient = jax.grad(lambda ray: point_loss(DEPTH, ray, POINTS, np.zeros_like(POINT_MASK)))(RAY)
    assert not np.asarray(gradient).any()


def test_the_spread_of_poses_is_that_over_scenes():
    target = RNG.standard_normal((50, 3, 9)).astype(np.float32)
    target[:, 0] = [0, 0, 0, 0, 0, 0, 1, 1, 1]
    mask = RNG.random((50, 3)) > 0.2
    same = np.broadcast_to(target[:1], target.shape)
    wrong = np.where(mask[..., None], target / 4 + 3, np.nan)  # the mean does not count, nor do fields of view, nor what is not known
    wrong[..., 7:] = RNG.standard_normal((50, 3, 2))
    for predicted, expected in ((target, 1), (same, 0), (wrong, 0.25)):
        assert float(pose_spread(predicted, target, mask)) == pytest.approx(expected, abs=1e-5)
    assert pose_spread(target, target, np.zeros((50, 3), bool)) == 0
    assert pose_spread(target[:, :1] + RNG.standard_normal((50, 1, 9), np.float32), target[:, :1], mask[:, :1]) == 0
