"""Nine numbers for a camera: camera-to-world translation, quaternion xyzw, vertical and horizontal field of view in radians."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from da3jax.geometry.pinhole import fov_from_intrinsics, intrinsics_from_fov
from da3jax.geometry.rigid import invert_rigid
from da3jax.geometry.rotations import matrix_from_quaternion, quaternion_from_matrix


def encode_pose(extrinsics: jax.Array, intrinsics: jax.Array, height: int, width: int) -> jax.Array:
    """Pose encoding (..., 9) of world-to-camera (..., 3 or 4, 4) and intrinsics (..., 3, 3) in pixels of a height × width image.

    The principal point is not encoded.
    """
    pose = invert_rigid(extrinsics)
    fov = fov_from_intrinsics(intrinsics, height, width)
    return jnp.concatenate([pose[..., 3], quaternion_from_matrix(pose[..., :3]), fov], axis=-1)


def decode_pose(encoding: jax.Array, height: int, width: int) -> tuple[jax.Array, jax.Array]:
    """World-to-camera (..., 3, 4) and intrinsics (..., 3, 3) in pixels, principal point at the image centre, of an encoding (..., 9).

    The quaternion need not have length one.
    """
    pose = jnp.concatenate([matrix_from_quaternion(encoding[..., 3:7]), encoding[..., :3, None]], axis=-1)
    return invert_rigid(pose), intrinsics_from_fov(encoding[..., 7:], height, width)
