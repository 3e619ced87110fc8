"""In which direction cameras moved, however far: losses in units of the scene's points hardly see that of cameras that moved little."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from da3jax.geometry.safe import safe_norm
from da3jax.training.losses.masked import keep, masked_mean

LEAST = 0.03
"""Motions shorter than this, in units of the target, count for less: cameras that only turn went no way to be learned."""


def motion_loss(pose_enc: jax.Array, ray: jax.Array, target: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean () distance between the direction in which each view after the first lies from it and the true one: 0 to 2, opposite.

    The mean of two: by the translations of pose encodings (B, S, 9), and by the mean origins of rays (B, S, h, w, 6). Target (B, S, 9) are
    pose encodings, the mask (B, S) the views that count. Directions are of length one, or shorter where the motion is shorter than `LEAST`.
    The camera and ray losses of the paper compare translations in units of the scene's points: of a camera that moved by a hundredth, an
    error of a hundredth is small, and may be the opposite direction. Ours; not of the paper.
    """
    pose_enc, ray, target = keep(mask, pose_enc, ray, target)
    truth = _direction(target[:, 1:, :3])
    by_head = safe_norm(_direction(pose_enc[:, 1:, :3]) - truth)
    by_rays = safe_norm(_direction(jnp.mean(ray[:, 1:, ..., 3:], axis=(2, 3))) - truth)
    return masked_mean((by_head + by_rays) / 2, mask[:, 1:])


def _direction(motion: jax.Array) -> jax.Array:
    """Motions (..., 3) at length one; those shorter than `LEAST`, in units of it."""
    return motion / jnp.maximum(safe_norm(motion, keepdims=True), LEAST)
