"""Cameras: as ray maps, as the points that depth and rays give together, and as pose encodings."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from da3jax.geometry import points_from_rays
from da3jax.geometry.safe import safe_divide
from da3jax.training.losses.confidence import confidence_loss
from da3jax.training.losses.masked import keep, masked_mean


def ray_loss(
    ray: jax.Array,
    target: jax.Array,
    mask: jax.Array,
    confidence: jax.Array | None = None,
    *,
    reward: float = 0.2,
    max_confidence: float | None = None,
) -> jax.Array:
    """Mean () over the mask (...) of c · error − λ log c, the error being the mean absolute difference of the six channels of rays (...,
    6).

    Without a confidence (...) the error alone. The mean over channels, where the paper's ℓ1 norm is their sum, keeps the error in the units
    of depth's, so that one λ and one guard serve both. Source: Depth Anything 3, section 3.3, L_M.
    """
    ray, target = keep(mask, ray, target)
    error = jnp.mean(jnp.abs(ray - target), axis=-1)
    return confidence_loss(error, confidence, mask, reward=reward, max_confidence=max_confidence)


def point_loss(
    depth: jax.Array,
    ray: jax.Array,
    target: jax.Array,
    mask: jax.Array,
    confidence: jax.Array | None = None,
    *,
    reward: float = 0.2,
    max_confidence: float | None = None,
) -> jax.Array:
    """Mean () over the mask of |(t̂ + D̂ · d̂) − P|, for depth (..., H, W), rays (..., h, w, 6), points (..., H, W, 3) and mask (..., H,
    W).

    The mean over the three coordinates; weighted as rays are where there is a confidence (..., H, W). Rays of another size are resampled at
    the pixels of depth. It is what makes depth and rays agree. Source: Depth Anything 3, section 3.3, L_P.
    """
    depth, target = keep(mask, depth, target)
    (points,) = keep(mask, points_from_rays(depth, ray))
    error = jnp.mean(jnp.abs(points - target), axis=-1)
    return confidence_loss(error, confidence, mask, reward=reward, max_confidence=max_confidence)


def camera_losses(pose_enc: jax.Array, target: jax.Array, mask: jax.Array) -> dict[str, jax.Array]:
    """Mean absolute differences () of pose encodings (..., 9) over the mask (...): `translation`, `quaternion` and `fov`.

    A quaternion and its negative are one rotation: each camera is compared with the nearer of the two. The predicted one is compared as it
    is, not brought to length one, so that the network learns length one too and nothing is divided by a length near zero. Translation is in
    the target's units, fields of view in radians. Source: Depth Anything 3, section 3.3, L_C; its parts are weighted by the config.
    """
    pose_enc, target = keep(mask, pose_enc, target)
    error = jnp.abs(pose_enc - target)
    opposite = jnp.mean(jnp.abs(pose_enc[..., 3:7] + target[..., 3:7]), axis=-1)
    return {
        "translation": masked_mean(jnp.mean(error[..., :3], axis=-1), mask),
        "quaternion": masked_mean(jnp.minimum(jnp.mean(error[..., 3:7], axis=-1), opposite), mask),
        "fov": masked_mean(jnp.mean(error[..., 7:], axis=-1), mask),
    }


def pose_spread(pose_enc: jax.Array, target: jax.Array, mask: jax.Array) -> jax.Array:
    """How much the poses of pose encodings (B, S, 9) differ from scene to scene, as a share () of how much the true ones do.

    It is the ratio of the standard deviations over scenes of translations and quaternions, a view at a time, where the mask (B, S) is True.
    Near 0 the network says the same of all scenes: its decoder has died, or it does not see one view from the other. It is 0 of one scene,
    and where the true poses do not differ.
    """
    weights = mask / jnp.maximum(jnp.sum(mask, axis=0, keepdims=True), 1)

    def spread(x: jax.Array) -> jax.Array:
        (x,) = keep(mask, x[..., :7])
        mean = jnp.sum(weights[..., None] * x, axis=0, keepdims=True)
        return jnp.sqrt(jnp.sum(weights[..., None] * (x - mean) ** 2))

    true = spread(target)
    return safe_divide(spread(pose_enc), jnp.where(true > 1e-4, true, 0))  # less is rounding
