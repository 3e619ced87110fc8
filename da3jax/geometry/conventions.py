"""Cameras of other conventions, to and from ours (da3jax.geometry says which they are). Intrinsics are the same in all of them.

NumPy's float64, as of map coordinates, gives such again, whatever `jax_enable_x64` says, and so do lists of numbers and integers.
Matrices of another shape than (..., 3 or 4, 4) are a ValueError.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from da3jax.geometry.rigid import check_rigid, invert_rigid
from da3jax.geometry.rotations import matrix_from_quaternion, quaternion_from_matrix
from da3jax.geometry.safe import floats

_FLIP = np.array([1, -1, -1, 1])  # OpenGL's camera looks along −z with y up


def _exact(function: Callable[..., Any]) -> Callable[..., Any]:
    """NumPy's float64 stays that, where JAX would round it: millions of units from the origin, float32 has no baselines."""

    @functools.wraps(function)
    def run(*matrices: jax.Array) -> Any:
        matrices = [x if isinstance(x, jax.Array) else np.asarray(x) for x in matrices]
        if any(isinstance(x, jax.Array) for x in matrices) or np.result_type(np.float32, *matrices) != np.float64:
            return function(*map(floats, matrices))
        with jax.ensure_compile_time_eval(), jax.enable_x64(True):
            return jax.tree.map(np.asarray, function(*(jnp.asarray(x, np.float64) for x in matrices)))

    return run


@_exact
def extrinsics_from_camera_to_world(pose: jax.Array) -> jax.Array:
    """World-to-camera (..., 3, 4) of camera-to-world poses (..., 3 or 4, 4), both with OpenCV's axes."""
    return invert_rigid(pose)


@_exact
def camera_to_world_from_extrinsics(extrinsics: jax.Array) -> jax.Array:
    """Camera-to-world poses (..., 3, 4) of world-to-camera (..., 3 or 4, 4), both with OpenCV's axes; their last column is the centre."""
    return invert_rigid(extrinsics)


@_exact
def extrinsics_from_opengl(pose: jax.Array) -> jax.Array:
    """World-to-camera (..., 3, 4) with OpenCV's axes of camera-to-world poses (..., 3 or 4, 4) with OpenGL's: NeRF, Blender, glTF.

    OpenGL's camera has x right, y up and looks along −z. The world stays as it is.
    """
    return invert_rigid(_flip(pose))


@_exact
def opengl_from_extrinsics(extrinsics: jax.Array) -> jax.Array:
    """Camera-to-world poses (..., 3, 4) with OpenGL's camera axes of world-to-camera (..., 3 or 4, 4) with OpenCV's."""
    return _flip(invert_rigid(extrinsics))


@_exact
def extrinsics_from_colmap(quaternion: jax.Array, translation: jax.Array) -> jax.Array:
    """World-to-camera (..., 3, 4) of COLMAP's quaternion (..., 4), wxyz, and translation (..., 3), which are world-to-camera too.

    COLMAP's axes are OpenCV's, and the centre of its first pixel is (0.5, 0.5) as ours: its intrinsics hold unchanged.
    """
    rotation = matrix_from_quaternion(jnp.roll(quaternion, -1, axis=-1))
    return jnp.concatenate([rotation, translation[..., None]], axis=-1)


@_exact
def colmap_from_extrinsics(extrinsics: jax.Array) -> tuple[jax.Array, jax.Array]:
    """COLMAP's quaternion (..., 4), wxyz with w ≥ 0, and translation (..., 3) of world-to-camera (..., 3 or 4, 4)."""
    check_rigid(extrinsics)
    return jnp.roll(quaternion_from_matrix(extrinsics[..., :3, :3]), 1, axis=-1), extrinsics[..., :3, 3]


def _flip(pose: jax.Array) -> jax.Array:
    return pose * jnp.asarray(_FLIP, pose.dtype).reshape(*(1,) * (pose.ndim - 1), 4)
