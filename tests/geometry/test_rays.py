"""Ray maps from cameras and points from ray maps."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax.geometry import points_from_rays, rays_from_cameras, resample_rays, rotation_from_axis_angle, unproject

SIZE = (28, 42)


def cameras(*leading):
    """World-to-camera and intrinsics with the principal point off the centre."""
    rng = np.random.default_rng(0)
    rotation = np.asarray(rotation_from_axis_angle(np.float32(rng.standard_normal((*leading, 3)))))
    extrinsics = np.concatenate([rotation, rng.standard_normal((*leading, 3, 1)).astype(np.float32)], axis=-1)
    intrinsics = np.zeros((*leading, 3, 3), np.float32)
    intrinsics[..., 0, 0], intrinsics[..., 1, 1] = rng.uniform(20, 80, (2, *leading))
    intrinsics[..., 0, 2], intrinsics[..., 1, 2], intrinsics[..., 2, 2] = 17, 16, 1
    return extrinsics, intrinsics


def test_samples_lie_at_the_pixel_centres_of_the_canonical_plane():
    """A camera at (1, 2, 3) that looks along z, 90 degrees wide: directions are the plane's own coordinates."""
    extrinsics = np.float32([[1, 0, 0, -1], [0, 1, 0, -2], [0, 0, 1, -3]])
    intrinsics = np.float32([[21, 0, 21], [0, 14, 14], [0, 0, 1]])
    ray = rays_from_cameras(extrinsics, intrinsics, SIZE, (2, 3))
    np.testing.assert_allclose(ray[0, :, 0], [-2 / 3, 0, 2 / 3], atol=1e-6)  # ±(1 − 1/3)
    np.testing.assert_allclose(ray[:, 1, 1], [-1 / 2, 1 / 2], atol=1e-6)
    np.testing.assert_allclose(ray[..., 2], np.ones((2, 3)), atol=1e-6)
    np.testing.assert_allclose(ray[..., 3:], np.broadcast_to([1, 2, 3], (2, 3, 3)))


def test_directions_are_camera_to_world_times_the_inverse_intrinsics():
    (extrinsics, intrinsics), (h, w) = cameras(2, 3), (4, 6)
    ray = rays_from_cameras(extrinsics, intrinsics, SIZE, (h, w))
    assert ray.shape == (2, 3, h, w, 6)
    for index in np.ndindex(2, 3, h, w):
        row, column = index[2:]
        pixel = [(column + 0.5) * SIZE[1] / w, (row + 0.5) * SIZE[0] / h, 1]
        rotation, translation = np.float64(extrinsics[index[:2]][:, :3]), extrinsics[index[:2]][:, 3]
        direction = rotation.T @ np.linalg.inv(np.float64(intrinsics[index[:2]])) @ pixel
        np.testing.assert_allclose(ray[index], np.concatenate([direction, -rotation.T @ translation]), atol=2e-6)


@pytest.mark.parametrize("map_size", [SIZE, (16, 24), (40, 5)])
def test_points_of_exact_rays_are_exact_at_every_pixel_whatever_the_map_s_size(map_size):
    extrinsics, intrinsics = cameras(3)
    depth = np.float32(np.random.default_rng(1).uniform(1, 5, (3, *SIZE)))
    points = points_from_rays(depth, rays_from_cameras(extrinsics, intrinsics, SIZE, map_size))
    np.testing.assert_allclose(points, unproject(depth, intrinsics, extrinsics), atol=2e-5)


def test_resampling_is_linear_between_and_beyond_the_centres():
    ray = np.float32([0, 4, 8, 0]).reshape(1, 4, 1)
    np.testing.assert_allclose(resample_rays(ray, 1, 8)[0, :, 0], [-1, 1, 3, 5, 7, 6, 2, -2], atol=1e-6)
    np.testing.assert_allclose(resample_rays(ray, 3, 2)[:, :, 0], [[2, 4]] * 3, atol=1e-6)


def test_one_sample_counts_for_the_whole_image():
    ray = np.arange(6, dtype=np.float32).reshape(1, 1, 6)
    np.testing.assert_array_equal(resample_rays(ray, 2, 3), np.broadcast_to(ray, (2, 3, 6)))


def test_jit_vmap_and_float64():
    with jax.enable_x64(True):
        extrinsics, intrinsics = (jnp.asarray(x, jnp.float64) for x in cameras(3))
        rays = rays_from_cameras(extrinsics, intrinsics, SIZE, (5, 7))
        assert rays.dtype == jnp.float64
        one_by_one = jax.jit(jax.vmap(lambda e, k: rays_from_cameras(e, k, SIZE, (5, 7))))(extrinsics, intrinsics)
        np.testing.assert_allclose(one_by_one, rays, atol=1e-14)


def test_derivatives_agree(assert_derivatives):
    rng = np.random.default_rng(1)
    assert_derivatives(points_from_rays, rng.uniform(1, 5, (1, 4, 5)), rng.standard_normal((1, 2, 3, 6)))
    extrinsics, intrinsics = (np.float64(x) for x in cameras(1))
    assert_derivatives(lambda e, k: rays_from_cameras(e, k, SIZE, (2, 3)), extrinsics, intrinsics)
