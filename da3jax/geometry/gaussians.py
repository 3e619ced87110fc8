"""3D Gaussians of a scene from what the Gaussian head says of each pixel (paper, section 5; `GaussianAdapter` of the official code)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from einops import rearrange

from da3jax.geometry.pinhole import invert_intrinsics
from da3jax.geometry.rigid import invert_rigid, transform_points
from da3jax.geometry.rotations import multiply_quaternions, quaternion_from_matrix
from da3jax.geometry.safe import matmul, safe_norm, safe_normalize
from da3jax.geometry.spherical_harmonics import rotate_harmonics
from da3jax.types import Gaussians

SMALLEST, LARGEST, FOOTPRINT = 1e-5, 30.0, 0.1
"""A standard deviation is between the first two, in a tenth of what a pixel's width and height measure at its depth."""

DEGREE_WEIGHTS = np.repeat([1, 0.025, 0.00625], [1, 3, 5])
"""(9,) what raw harmonics of degree 0, 1 and 2 are multiplied by."""


def gaussians_from_raw(
    raw_gs: jax.Array,
    opacity: jax.Array,
    depth: jax.Array,
    extrinsics: jax.Array | None,
    intrinsics: jax.Array,
    *,
    depth_scale: jax.Array | None = None,
    official: bool = False,
) -> Gaussians:
    """One Gaussian a pixel, in the world frame of the cameras.

    A Gaussian's centre is at the depth of its pixel, plus the predicted offset, on the ray through the pixel's centre, plus the predicted
    offset in pixels. Where that depth is not positive, the standard deviations are not either: such a Gaussian is to be left out.

    Args:
        raw_gs: (*L, H, W, 37), `NetworkOutput.raw_gs`: offset in pixels 2, standard deviations 3, quaternion xyzw 4, harmonics by colour
            3 · 9, depth offset 1; all in the camera's own terms.
        opacity: (*L, H, W), `NetworkOutput.raw_gs_conf`.
        depth: (*L, H, W) distance along the camera's z axis.
        extrinsics: (*L, 3 or 4, 4) world-to-camera; None for Gaussians in the camera's frame.
        intrinsics: (*L, 3, 3) in pixels of the depth map.
        depth_scale: (*L), axes of length one count for all: what the network's depth has been multiplied by, as its depth offset has to be
            too; None for nothing.
        official: reproduces two faults of the official code, for comparison with it. There depth is the distance along the ray, so that
            everything bends away from the image's corners, and the quaternion is reordered to wxyz and then read as xyzw, so that
            Gaussians turn with their camera in a wrong way. For a camera that is the world's, rotations agree.

    Returns:
        Leaves (*L, H, W, ...). Gradients are finite everywhere.

    Raises:
        ValueError: a Gaussian has not 37 raw parameters.
    """
    if raw_gs.shape[-1] != 37:
        raise ValueError(f"raw_gs has {raw_gs.shape[-1]} numbers a pixel; a Gaussian has 37 raw parameters beside its opacity")
    lead, (height, width) = depth.ndim - 2, depth.shape[-2:]
    offset, size, turn, harmonics, depth_offset = jnp.split(raw_gs, (2, 5, 9, 36), axis=-1)
    if extrinsics is None:
        pose = jnp.broadcast_to(jnp.eye(3, 4, dtype=depth.dtype).reshape(*(1,) * lead, 3, 4), (*depth.shape[:-2], 3, 4))
    else:
        pose = invert_rigid(extrinsics)
    rotation, inverse = pose[..., :3], invert_intrinsics(intrinsics)
    offset_in_depth = depth_offset[..., 0]
    depth = depth + (offset_in_depth if depth_scale is None else offset_in_depth * depth_scale[..., None, None])

    grid = jnp.stack(jnp.meshgrid(jnp.arange(width) + 0.5, jnp.arange(height) + 0.5), axis=-1, dtype=depth.dtype)
    pixels = offset + grid.reshape(*(1,) * lead, height, width, 2)
    pixels = jnp.concatenate([pixels, jnp.ones_like(pixels[..., :1])], axis=-1)
    rays = transform_points(jnp.concatenate([matmul(rotation, inverse), jnp.zeros_like(pose[..., 3:])], axis=-1), pixels)
    if official:
        rays = safe_normalize(rays)

    # (*L) width and height of a pixel at depth 1; the official code's sum, which a skew is part of.
    pixel = jnp.sum(inverse[..., :2, :2], axis=(-2, -1))
    scales = (SMALLEST + (LARGEST - SMALLEST) * jax.nn.sigmoid(size)) * (FOOTPRINT * pixel[..., None, None] * depth)[..., None]

    harmonics = rearrange(harmonics, "... (colour terms) -> ... colour terms", colour=3)
    weights = DEGREE_WEIGHTS.astype(harmonics.dtype).reshape(*(1,) * (harmonics.ndim - 1), -1)
    return Gaussians(
        means=pose[..., None, None, :, 3] + depth[..., None] * rays,
        scales=scales,
        rotations=_rotations(turn, rotation, official),
        harmonics=rotate_harmonics(weights * harmonics, rotation),
        opacities=opacity,
    )


def _rotations(turn: jax.Array, rotation: jax.Array, official: bool) -> jax.Array:
    """Unit quaternions wxyz (*L, H, W, 4) to the world, of raw ones xyzw to cameras whose axes are the rotation's (*L, 3, 3) columns."""
    none = jnp.zeros_like(turn).at[..., 3].set(1)
    turn = jnp.where(safe_norm(turn, keepdims=True) > 0, safe_normalize(turn), none)
    if official:
        turn = jnp.roll(turn, 1, axis=-1)
    turn = multiply_quaternions(quaternion_from_matrix(rotation)[..., None, None, :], turn)
    turn = jnp.where(turn[..., 3:] < 0, -turn, turn)
    return turn if official else jnp.roll(turn, 1, axis=-1)
