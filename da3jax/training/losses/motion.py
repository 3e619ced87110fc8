"""Where cameras stand, measured in how far they move: what says which way they went, where they went a little way only."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from da3jax.geometry.safe import safe_norm
from da3jax.training.losses.masked import keep, masked_mean

LEAST = 0.03
"""Cameras that move less, in units of the target, count as if they moved that far: those that only turn went no way to be learned."""


def motion_loss(pose_enc: jax.Array, ray: jax.Array, target: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean () over views of how far off cameras stand, by pose encodings (B, S, 9) and by rays (B, S, h, w, 6), over the scene's motion.

    A scene's motion is the mean distance of its cameras from the first one, at least `LEAST`; target (B, S, 9) are pose encodings, the mask
    (B, S) the views that count. The camera and ray losses of the paper compare in units of the scene's points, where an error of a
    hundredth is small, and is all there is between one way and another of cameras that moved by a hundredth. Ours; not of the paper.
    """
    pose_enc, ray, target = keep(mask, pose_enc, ray, target)
    centre = target[..., :3]
    motion = jnp.sum(safe_norm(centre), axis=1, keepdims=True) / jnp.maximum(jnp.sum(mask[:, 1:], axis=1, keepdims=True), 1)
    by_head = jnp.mean(jnp.abs(pose_enc[..., :3] - centre), axis=-1)
    by_rays = jnp.mean(jnp.abs(ray[..., 3:] - centre[:, :, None, None]), axis=(2, 3, 4))
    return masked_mean((by_head + by_rays) / 2 / jnp.maximum(motion, LEAST), mask)
