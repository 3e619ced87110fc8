"""Rotations as matrices and as quaternions xyzw (scalar last)."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def matrix_from_quaternion(quaternion: jax.Array) -> jax.Array:
    """Rotation matrix (..., 3, 3) of a quaternion (..., 4) xyzw of any length but zero."""
    x, y, z, w = jnp.moveaxis(quaternion, -1, 0)
    s = 2 / jnp.sum(quaternion * quaternion, axis=-1)
    rows = [
        [1 - s * (y * y + z * z), s * (x * y - z * w), s * (x * z + y * w)],
        [s * (x * y + z * w), 1 - s * (x * x + z * z), s * (y * z - x * w)],
        [s * (x * z - y * w), s * (y * z + x * w), 1 - s * (x * x + y * y)],
    ]
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def quaternion_from_matrix(matrix: jax.Array) -> jax.Array:
    """Unit quaternion (..., 4) xyzw with w ≥ 0 of a rotation matrix (..., 3, 3).

    Each row of the 4 × 4 matrix below is the quaternion times four times one of its components; the longest row is the exact one. No square
    root is taken of anything that can be zero, so gradients are finite everywhere.
    """
    (a, b, c), (d, e, f), (g, h, i) = (jnp.moveaxis(row, -1, 0) for row in jnp.moveaxis(matrix, -2, 0))
    rows = [
        [1 + a - e - i, b + d, c + g, h - f],
        [b + d, 1 - a + e - i, f + h, c - g],
        [c + g, f + h, 1 - a - e + i, d - b],
        [h - f, c - g, d - b, 1 + a + e + i],
    ]
    rows = jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)  # (..., 4, 4)
    best = jnp.argmax(jnp.diagonal(rows, axis1=-2, axis2=-1), axis=-1)[..., None, None]
    quaternion = jnp.take_along_axis(rows, best, axis=-2)[..., 0, :]
    quaternion = quaternion / jnp.linalg.norm(quaternion, axis=-1, keepdims=True)
    return jnp.where(quaternion[..., 3:] < 0, -quaternion, quaternion)
