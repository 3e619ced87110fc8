"""Pinhole cameras: pixels and depth from points, and back."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from da3jax.geometry.rigid import invert_rigid, transform_points
from da3jax.geometry.safe import matmul, matrix_of, safe_divide


def project(points: jax.Array, extrinsics: jax.Array, intrinsics: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Where cameras see world points (*L, *any, 3): pixels (*L, *any, 2), x before y, and depth (*L, *any) along the camera's z axis.

    Extrinsics (*L, 3 or 4, 4) are world-to-camera, intrinsics (*L, 3, 3) in pixels. Behind a camera, where the depth is not positive,
    the pixel is finite and says nothing.
    """
    camera = transform_points(extrinsics, points)
    depth = camera[..., 2]
    plane = jnp.concatenate([safe_divide(camera[..., :2], depth[..., None]), jnp.ones_like(depth)[..., None]], axis=-1)
    no_shift = jnp.concatenate([intrinsics, jnp.zeros_like(intrinsics[..., :1])], axis=-1)
    return transform_points(no_shift, plane)[..., :2], depth


def unproject(depth: jax.Array, intrinsics: jax.Array, extrinsics: jax.Array | None = None) -> jax.Array:
    """Points (*L, H, W, 3) at the pixel centres of depth maps (*L, H, W), depth being the distance along the camera's z axis.

    Intrinsics (*L, 3, 3) are in pixels of the depth map. Points are in the world with world-to-camera extrinsics (*L, 3 or 4, 4), else
    in the camera's frame.
    """
    size = depth.shape[-2:]
    matrix = invert_intrinsics(intrinsics)
    if extrinsics is None:
        return depth[..., None] * pixel_directions(matrix, size, size)
    pose = invert_rigid(extrinsics)
    return pose[..., None, None, :, 3] + depth[..., None] * pixel_directions(matmul(pose[..., :3], matrix), size, size)


def pixel_directions(matrix: jax.Array, image_size: tuple[int, int], map_size: tuple[int, int]) -> jax.Array:
    """Matrices (..., 3, 3) times (u, v, 1), as (..., h, w, 3), at the centres of the h × w cells that divide a height × width image."""
    (height, width), (h, w) = image_size, map_size
    ones = (1,) * (matrix.ndim - 2)
    u = ((jnp.arange(w, dtype=matrix.dtype) + 0.5) * (width / w)).reshape(*ones, 1, w, 1)
    v = ((jnp.arange(h, dtype=matrix.dtype) + 0.5) * (height / h)).reshape(*ones, h, 1, 1)
    x, y, z = (matrix[..., None, None, :, i] for i in range(3))
    return x * u + (y * v + z)


def invert_intrinsics(intrinsics: jax.Array) -> jax.Array:
    """The inverse (..., 3, 3) of intrinsics, in closed form; they may have a skew."""
    fx, skew, cx = (intrinsics[..., 0, i] for i in range(3))
    fy, cy = intrinsics[..., 1, 1], intrinsics[..., 1, 2]
    zero, one = jnp.zeros_like(fx), jnp.ones_like(fx)
    return matrix_of([[1 / fx, -skew / (fx * fy), (skew * cy / fy - cx) / fx], [zero, 1 / fy, -cy / fy], [zero, zero, one]])


def intrinsics_from_fov(fov: jax.Array, height: int, width: int) -> jax.Array:
    """Intrinsics (..., 3, 3) in pixels, principal point at the image centre, of vertical and horizontal fields of view (..., 2) in radians.

    A field of view of zero gives a focal length of a million half image sizes.
    """
    focal = 1 / jnp.maximum(jnp.tan(fov[..., ::-1] / 2), 1e-6)
    return intrinsics_from_half_sizes(focal, jnp.zeros_like(focal), height, width)


def fov_from_intrinsics(intrinsics: jax.Array, height: int, width: int) -> jax.Array:
    """Vertical and horizontal field of view (..., 2) in radians; the principal point does not count."""
    focal, _ = half_sizes_from_intrinsics(intrinsics, height, width)
    return 2 * jnp.arctan(1 / focal[..., ::-1])


def intrinsics_from_half_sizes(focal: jax.Array, principal_point: jax.Array, height: int, width: int) -> jax.Array:
    """Intrinsics (..., 3, 3) in pixels of focal lengths and principal points (..., 2), x before y, in half image sizes.

    A focal length of 1 sees 90 degrees; the principal point is 0 at the image centre and ±1 at its borders.
    """
    fx, fy = focal[..., 0] * (width / 2), focal[..., 1] * (height / 2)
    cx, cy = (principal_point[..., 0] + 1) * (width / 2), (principal_point[..., 1] + 1) * (height / 2)
    zero, one = jnp.zeros_like(fx), jnp.ones_like(fx)
    return matrix_of([[fx, zero, cx], [zero, fy, cy], [zero, zero, one]])


def half_sizes_from_intrinsics(intrinsics: jax.Array, height: int, width: int) -> tuple[jax.Array, jax.Array]:
    """Focal lengths and principal points (..., 2), x before y, in half image sizes, of intrinsics (..., 3, 3) in pixels."""
    focal = jnp.stack([intrinsics[..., 0, 0] / (width / 2), intrinsics[..., 1, 1] / (height / 2)], axis=-1)
    principal_point = jnp.stack([intrinsics[..., 0, 2] / (width / 2), intrinsics[..., 1, 2] / (height / 2)], axis=-1) - 1
    return focal, principal_point
