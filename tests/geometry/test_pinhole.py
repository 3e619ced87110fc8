"""Projection and its way back."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax import geometry
from da3jax.geometry import rotation_from_axis_angle

project, unproject = jax.jit(geometry.project), jax.jit(geometry.unproject)

INTRINSICS = np.float32([[50, 2, 14], [0, 40, 11], [0, 0, 1]])  # with a skew


def cameras(*leading):
    rng = np.random.default_rng(0)
    rotation = rotation_from_axis_angle(np.float32(rng.standard_normal((*leading, 3))))
    extrinsics = np.concatenate([rotation, rng.standard_normal((*leading, 3, 1)).astype(np.float32)], axis=-1)
    return extrinsics, np.broadcast_to(INTRINSICS, (*leading, 3, 3)) * np.float32([[1], [1], [1]])


def test_a_point_lands_where_the_formula_says():
    turn = np.float32([[0, 0, -1, 0], [0, 1, 0, 0], [1, 0, 0, 2]])  # looks along the world's x from (−2, 0, 0)
    pixel, depth = project(np.float32([2, 3, 1]), turn, INTRINSICS)
    assert depth == 4
    np.testing.assert_allclose(pixel, [50 * -1 / 4 + 2 * 3 / 4 + 14, 40 * 3 / 4 + 11])


@pytest.mark.parametrize("leading", [(), (3,), (2, 3)])
def test_pixel_centres_come_back(leading):
    extrinsics, intrinsics = cameras(*leading)
    depth = np.random.default_rng(1).uniform(1, 5, (*leading, 6, 8)).astype(np.float32)
    pixels, back = project(unproject(depth, intrinsics, extrinsics), extrinsics, intrinsics)
    centers = np.stack(np.meshgrid(np.arange(8) + 0.5, np.arange(6) + 0.5), axis=-1)
    np.testing.assert_allclose(pixels, np.broadcast_to(centers, pixels.shape), atol=1e-3)
    np.testing.assert_allclose(back, depth, atol=1e-5)


def test_without_extrinsics_points_are_the_camera_s():
    _, intrinsics = cameras(2)
    depth = np.float32(np.random.default_rng(1).uniform(1, 5, (2, 4, 5)))
    points = unproject(depth, intrinsics)
    np.testing.assert_array_equal(points[..., 2], depth)
    np.testing.assert_allclose(points[0, 1, 3], np.linalg.inv(INTRINSICS) @ [3.5, 1.5, 1] * depth[0, 1, 3], rtol=1e-5)
    here = np.broadcast_to(np.eye(3, 4, dtype=np.float32), (2, 3, 4))
    np.testing.assert_allclose(unproject(depth, intrinsics, here), points, rtol=1e-6)


def test_in_the_camera_s_own_plane_pixels_and_gradients_are_finite():
    points = np.float32([[1, 2, 0], [0, 0, 0], [1, 2, -3]])
    here = np.eye(3, 4, dtype=np.float32)
    pixels, depth = project(points, here, INTRINSICS)
    assert np.isfinite(pixels).all()
    np.testing.assert_array_equal(depth, [0, 0, -3])
    assert np.isfinite(jax.jacrev(lambda p: project(p, here, INTRINSICS)[0])(points)).all()


def test_the_inverse_of_intrinsics():
    _, intrinsics = cameras(4)
    np.testing.assert_allclose(geometry.invert_intrinsics(intrinsics), np.linalg.inv(np.float64(intrinsics)), rtol=1e-6, atol=1e-8)


def test_fields_of_view_there_and_back():
    fov = np.float32([[np.pi / 2, 2 * np.pi / 3], [0.4, 0.9]])
    intrinsics = geometry.intrinsics_from_fov(fov, 28, 42)
    np.testing.assert_allclose(intrinsics[0], [[21 / np.sqrt(3), 0, 21], [0, 14, 14], [0, 0, 1]], rtol=1e-6)
    np.testing.assert_allclose(geometry.fov_from_intrinsics(intrinsics, 28, 42), fov, rtol=1e-6)


def test_half_image_sizes_there_and_back():
    intrinsics = np.float32([[100, 0, 25], [0, 50, 15], [0, 0, 1]])
    focal, principal_point = geometry.half_sizes_from_intrinsics(intrinsics, 20, 40)
    np.testing.assert_allclose(focal, [5, 5])
    np.testing.assert_allclose(principal_point, [0.25, 0.5])
    np.testing.assert_allclose(geometry.intrinsics_from_half_sizes(focal, principal_point, 20, 40), intrinsics, rtol=1e-6)


def test_derivatives_agree_in_float64(assert_derivatives):
    extrinsics, intrinsics = (np.float64(x) for x in cameras())
    depth = np.random.default_rng(1).uniform(1, 5, (2, 3))
    with jax.enable_x64(True):
        points = unproject(jnp.asarray(depth), jnp.asarray(intrinsics), jnp.asarray(extrinsics))
        assert points.dtype == jnp.float64
    assert_derivatives(lambda d, k, e: unproject(d, k, e), depth[None], intrinsics[None], extrinsics[None])
    assert_derivatives(lambda p, e, k: project(p, e, k)[0], np.asarray(points)[None], extrinsics[None], intrinsics[None])
