"""Which way cameras went, however far: what losses in units of the scene's points hardly see of those that moved a little way only."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from da3jax.geometry.safe import safe_norm
from da3jax.training.losses.masked import keep, masked_mean

LEAST = 0.03
"""Motions shorter than this, in units of the target, count for less: cameras that only turn went no way to be learned."""


def motion_loss(pose_enc: jax.Array, ray: jax.Array, target: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean () over views after the first of how far off the way is that they went from it, by pose encodings (B, S, 9) and by rays
    (B, S, h, w, 6), whose origins' mean counts.

    A way is a motion at length one, of motions shorter than `LEAST` their share of that: the distance of two is 2 where they are opposite.
    Target (B, S, 9) are pose encodings, the mask (B, S) the views that count. The camera and ray losses of the paper compare in units of
    the scene's points, where an error of a hundredth is small, and is all there is between one way and another of cameras that moved by a
    hundredth. Ours; not of the paper.
    """
    pose_enc, ray, target = keep(mask, pose_enc, ray, target)
    way = _way(target[:, 1:, :3])
    by_head = safe_norm(_way(pose_enc[:, 1:, :3]) - way)
    by_rays = safe_norm(_way(jnp.mean(ray[:, 1:, ..., 3:], axis=(2, 3))) - way)
    return masked_mean((by_head + by_rays) / 2, mask[:, 1:])


def _way(motion: jax.Array) -> jax.Array:
    """Motions (..., 3) at length one, shorter ones than `LEAST` in units of it."""
    return motion / jnp.maximum(safe_norm(motion, keepdims=True), LEAST)
