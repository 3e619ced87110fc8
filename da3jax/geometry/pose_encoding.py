"""Nine numbers for a camera: camera-to-world translation, quaternion xyzw, vertical and horizontal field of view in radians."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from da3jax.geometry.rigid import invert_rigid
from da3jax.geometry.rotations import matrix_from_quaternion, quaternion_from_matrix


def encode_pose(extrinsics: jax.Array, intrinsics: jax.Array, height: int, width: int) -> jax.Array:
    """Pose encoding (..., 9) of world-to-camera (..., 3 or 4, 4) and intrinsics (..., 3, 3) in pixels of a height × width image.

    The principal point is not encoded.
    """
    pose = invert_rigid(extrinsics)
    vertical = 2 * jnp.arctan(height / 2 / intrinsics[..., 1, 1])
    horizontal = 2 * jnp.arctan(width / 2 / intrinsics[..., 0, 0])
    fov = jnp.stack([vertical, horizontal], axis=-1)
    return jnp.concatenate([pose[..., 3], quaternion_from_matrix(pose[..., :3]), fov], axis=-1)


def decode_pose(encoding: jax.Array, height: int, width: int) -> tuple[jax.Array, jax.Array]:
    """World-to-camera (..., 3, 4) and intrinsics (..., 3, 3) in pixels, principal point at the image centre, of an encoding (..., 9).

    The quaternion need not have length one.
    """
    pose = jnp.concatenate([matrix_from_quaternion(encoding[..., 3:7]), encoding[..., :3, None]], axis=-1)
    fy, fx = (half / jnp.maximum(jnp.tan(encoding[..., i] / 2), 1e-6) for half, i in ((height / 2, 7), (width / 2, 8)))
    zero, one = jnp.zeros_like(fx), jnp.ones_like(fx)
    rows = [[fx, zero, width / 2 * one], [zero, fy, height / 2 * one], [zero, zero, one]]
    intrinsics = jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)
    return invert_rigid(pose), intrinsics
