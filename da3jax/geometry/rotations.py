"""Rotations as matrices, as quaternions xyzw (scalar last) and as axis times angle."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from da3jax.geometry.safe import matmul, matrix_of, safe_norm, safe_normalize


def matrix_from_quaternion(quaternion: jax.Array) -> jax.Array:
    """Rotation matrix (..., 3, 3) of a quaternion (..., 4) xyzw of any length whose square float32 holds, 1e-18 to 1e18."""
    x, y, z, w = jnp.moveaxis(quaternion, -1, 0)
    s = 2 / jnp.sum(quaternion * quaternion, axis=-1)
    rows = [
        [1 - s * (y * y + z * z), s * (x * y - z * w), s * (x * z + y * w)],
        [s * (x * y + z * w), 1 - s * (x * x + z * z), s * (y * z - x * w)],
        [s * (x * z - y * w), s * (y * z + x * w), 1 - s * (x * x + y * y)],
    ]
    return matrix_of(rows)


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
    rows = matrix_of(rows)  # (..., 4, 4)
    best = jnp.argmax(jnp.diagonal(rows, axis1=-2, axis2=-1), axis=-1)[..., None, None]
    quaternion = jnp.take_along_axis(rows, best, axis=-2)[..., 0, :]
    quaternion = quaternion / jnp.linalg.norm(quaternion, axis=-1, keepdims=True)
    return jnp.where(quaternion[..., 3:] < 0, -quaternion, quaternion)


def multiply_quaternions(first: jax.Array, other: jax.Array) -> jax.Array:
    """The product (..., 4) xyzw of quaternions (..., 4) xyzw as of matrices: the second turns first. Axes of length one count for all."""
    x, y, z, w = jnp.moveaxis(first, -1, 0)
    a, b, c, d = jnp.moveaxis(other, -1, 0)
    product = [x * d + w * a + y * c - z * b, y * d + w * b + z * a - x * c, z * d + w * c + x * b - y * a, w * d - x * a - y * b - z * c]
    return jnp.stack(product, axis=-1)


def rotation_from_axis_angle(axis_angle: jax.Array) -> jax.Array:
    """Rotation matrix (..., 3, 3) of vectors (..., 3) along the axis, as long as the angle in radians; the identity for the zero vector."""
    square = jnp.sum(axis_angle * axis_angle, axis=-1, keepdims=True)
    small = square < 1e-8  # there two terms of the series are exact in float64 too
    angle = jnp.sqrt(jnp.where(small, 1, square))
    xyz = axis_angle * jnp.where(small, 1 / 2 - square / 48, jnp.sin(angle / 2) / angle)
    w = jnp.where(small, 1 - square / 8, jnp.cos(angle / 2))
    return matrix_from_quaternion(jnp.concatenate([xyz, w], axis=-1))


def axis_angle_from_rotation(rotation: jax.Array) -> jax.Array:
    """Vectors (..., 3) along the axis of rotations (..., 3, 3), as long as the angle in radians, 0 to π.

    Exact at both ends; of the two axes of a half turn it returns one.
    """
    quaternion = quaternion_from_matrix(rotation)
    xyz, w = quaternion[..., :3], quaternion[..., 3:]
    square = jnp.sum(xyz * xyz, axis=-1, keepdims=True)
    small = square < 1e-8
    sine = jnp.sqrt(jnp.where(small, 1, square))
    return xyz * jnp.where(small, 2 + square / 3, 2 * jnp.arctan2(sine, w) / sine)


def rotation_angle(a: jax.Array, b: jax.Array) -> jax.Array:
    """Angle (...) in radians, 0 to π, between rotations (..., 3, 3), as exact for small angles as for large ones.

    Its gradient is 0 where the two are equal: the angle has a minimum there, with a kink.
    """
    quaternion = quaternion_from_matrix(matmul(jnp.swapaxes(a, -1, -2), b))
    return 2 * jnp.arctan2(safe_norm(quaternion[..., :3]), quaternion[..., 3])


def rotation_between(source: jax.Array, target: jax.Array) -> jax.Array:
    """The smallest rotation (..., 3, 3) that turns the direction of vectors (..., 3) into that of others.

    For opposite directions some half turn, for a zero vector the identity.
    """
    source, target = safe_normalize(source), safe_normalize(target)
    cosine = jnp.sum(source * target, axis=-1, keepdims=True)
    cross = jnp.cross(source, target)
    square = jnp.sum(cross * cross, axis=-1, keepdims=True)
    behind = cosine < 0
    w = jnp.where(behind, square / jnp.where(behind, 1 - cosine, 1), 1 + cosine)  # 1 + cosine, without its rounding near −1
    opposite = behind & (square < (8 * jnp.finfo(cosine.dtype).eps) ** 2)
    across = jnp.cross(source, jax.nn.one_hot(jnp.argmin(jnp.abs(source), axis=-1), 3, dtype=source.dtype))
    half_turn = jnp.concatenate([across, jnp.zeros_like(cosine)], axis=-1)
    return matrix_from_quaternion(jnp.where(opposite, half_turn, jnp.concatenate([cross, w], axis=-1)))
