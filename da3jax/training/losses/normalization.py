"""Ground truth in the units that the network answers in: the first view's frame, and one scale a scene."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from da3jax.config import PATCH_SIZE
from da3jax.geometry import compose_rigid, encode_pose, invert_rigid, rays_from_cameras, unproject
from da3jax.geometry.safe import safe_divide, safe_norm
from da3jax.training.losses.masked import keep

RAYS_PER_PATCH = 8
"""Rays a side of a patch, as the network gives them."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class NormalizedTargets:
    """What predictions are compared with; finite everywhere, zeros where nothing counts."""

    depth: jax.Array
    """(B, S, H, W) along the camera's z axis, in units of `scale`."""
    mask: jax.Array
    """(B, S, H, W) bool, where depth counts."""
    points: jax.Array
    """(B, S, H, W, 3) in the first view's frame."""
    point_mask: jax.Array
    """(B, S, H, W) bool, where points count: where depth does, of views with a camera."""
    ray: jax.Array
    """(B, S, h, w, 6) direction R K⁻¹ (u, v, 1), not normalised, then the camera's centre, at 8 × the patch grid."""
    pose_enc: jax.Array
    """(B, S, 9) camera-to-world translation, quaternion xyzw, field of view (vertical, horizontal) in radians."""
    camera_mask: jax.Array
    """(B, S) bool, where rays and pose encodings count: views with a camera."""
    extrinsics: jax.Array
    """(B, S, 3, 4) world-to-camera, from the first view's frame."""
    intrinsics: jax.Array
    """(B, S, 3, 3) pixels; the identity where they are not known."""
    scale: jax.Array
    """(B,) mean distance of the valid points from the first camera, in the units of the input; 0 for a scene without any."""


def normalize_targets(depth: jax.Array, extrinsics: jax.Array, intrinsics: jax.Array, mask: jax.Array) -> NormalizedTargets:
    """Ground truth in the first view's frame, divided by the mean distance of its valid points from there.

    Takes depth (B, S, H, W) along z, world-to-camera extrinsics (B, S, 3 or 4, 4) in any world, intrinsics (B, S, 3, 3) in pixels and the
    mask (B, S, H, W) of depth that counts, if it is finite and positive. Neither moving nor scaling the world changes the result, but for
    `scale`. Predictions are not normalised: the network learns to answer in these units, with the first view as its reference. Cameras that
    are not finite do not count; the first one's place is the origin in any case. Of a scene without a valid point, nothing counts. Far from
    the world's origin float32 cannot tell cameras apart: what gives matrices as large as map coordinates brings them into the first view's
    frame in float64 before. Source: Depth Anything 3, section 3.3.
    """
    height, width = depth.shape[-2:]
    mask = mask & jnp.isfinite(depth) & (depth > 0)
    (depth,) = keep(mask, depth)

    known = jnp.all(jnp.isfinite(intrinsics), axis=(-2, -1)) & (intrinsics[..., 0, 0] > 0) & (intrinsics[..., 1, 1] > 0)
    relative = compose_rigid(extrinsics, invert_rigid(extrinsics[:, :1]))
    relative = relative.at[:, 0].set(jnp.eye(3, 4, dtype=relative.dtype))  # without rounding, and known though it may not be in the world
    known = known & jnp.all(jnp.isfinite(relative), axis=(-2, -1))
    intrinsics = jnp.where(known[..., None, None], intrinsics, jnp.eye(3, dtype=intrinsics.dtype).reshape(1, 1, 3, 3))
    relative = jnp.where(known[..., None, None], relative, jnp.eye(3, 4, dtype=relative.dtype).reshape(1, 1, 3, 4))

    points = unproject(depth, intrinsics, relative)
    point_mask = mask & known[..., None, None]
    (distance,) = keep(point_mask, safe_norm(points))
    count = jnp.sum(point_mask, axis=(1, 2, 3))
    scale = jnp.sum(distance, axis=(1, 2, 3)) / jnp.maximum(count, 1)

    some = scale > 0
    smaller = safe_divide(jnp.ones_like(scale), scale)
    relative = relative.at[..., 3].multiply(smaller[:, None, None])
    mask, point_mask, camera_mask = (x & some.reshape(-1, *(1,) * (x.ndim - 1)) for x in (mask, point_mask, known))
    grid = tuple(side // PATCH_SIZE * RAYS_PER_PATCH for side in (height, width))
    (ray,) = keep(camera_mask, rays_from_cameras(relative, intrinsics, (height, width), grid))
    (pose_enc,) = keep(camera_mask, encode_pose(relative, intrinsics, height, width))
    (points,) = keep(point_mask, points * smaller[:, None, None, None, None])
    return NormalizedTargets(
        depth * smaller[:, None, None, None], mask, points, point_mask, ray, pose_enc, camera_mask, relative, intrinsics, scale
    )
