"""Ray maps: for every pixel a direction, then the camera's centre. A world point is origin + depth · direction."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from da3jax.geometry.pinhole import invert_intrinsics, pixel_directions
from da3jax.geometry.rigid import invert_rigid
from da3jax.geometry.safe import matmul


def rays_from_cameras(
    extrinsics: jax.Array, intrinsics: jax.Array, image_size: tuple[int, int], map_size: tuple[int, int] | None = None
) -> jax.Array:
    """Ray maps (..., h, w, 6) in world coordinates of world-to-camera extrinsics (..., 3 or 4, 4) and intrinsics (..., 3, 3) in pixels.

    Channels 0 to 2 are the direction R K⁻¹ (u, v, 1), R camera-to-world: not normalised, so that depth along z multiplies it; 3 to 5 the
    camera's centre. `image_size` is the height and width that the intrinsics are for, `map_size` (the same by default) that of the map,
    whose pixel centres lie at ±(1 − 1/n) of the half image.
    """
    pose = invert_rigid(extrinsics)
    direction = pixel_directions(matmul(pose[..., :3], invert_intrinsics(intrinsics)), image_size, map_size or image_size)
    return jnp.concatenate([direction, jnp.broadcast_to(pose[..., None, None, :, 3], direction.shape)], axis=-1)


def points_from_rays(depth: jax.Array, ray: jax.Array) -> jax.Array:
    """World points (..., H, W, 3) of depth (..., H, W) along z and ray maps (..., h, w, 6) of any size: origin + depth · direction."""
    ray = resample_rays(ray, *depth.shape[-2:])
    return ray[..., 3:] + depth[..., None] * ray[..., :3]


def resample_rays(ray: jax.Array, height: int, width: int) -> jax.Array:
    """Maps (..., h, w, C) at the pixel centres of a height × width grid over the same image, (..., height, width, C).

    Bilinear between the map's pixel centres, and linear beyond the outermost ones (where an image resize would repeat them): the rays of a
    pinhole camera are linear in the pixel, so theirs are exact everywhere.
    """
    return _resample(_resample(jnp.asarray(ray), height, -3), width, -2)


def _resample(x: jax.Array, size: int, axis: int) -> jax.Array:
    old = x.shape[axis]
    if old == size:
        return x
    position = (np.arange(size) + 0.5) * (old / size) - 0.5
    left = np.clip(np.floor(position), 0, max(old - 2, 0)).astype(np.int32)
    ones = [1] * x.ndim
    ones[axis] = size
    weight = jnp.asarray(position - left, x.dtype).reshape(ones)
    before, after = jnp.take(x, left, axis=axis), jnp.take(x, np.minimum(left + 1, old - 1), axis=axis)
    return before + weight * (after - before)
