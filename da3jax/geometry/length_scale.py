"""One scale from lengths that are known twice: in the prediction's units and in metres."""

from __future__ import annotations

import dataclasses
import enum

import jax
import jax.numpy as jnp

from da3jax.geometry.safe import safe_divide, safe_sqrt

ROUNDS = 3
"""Choices of the inliers, each about the median of the one before."""


class LengthScaleResult(enum.IntEnum):
    """How a fit of one scale ended. Unless with SUCCESS the scale is 1, no pair an inlier, and the residual 0."""

    SUCCESS = 0
    TOO_FEW = 1
    """No pair counts."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class LengthScale:
    """reference ≈ scale · length; any leading axes."""

    scale: jax.Array
    """(...) positive."""
    inlier_share: jax.Array
    """(...) of the pairs that count, those that the scale was fitted to."""
    residual: jax.Array
    """(...) root mean square of scale · length − reference over these pairs, in the reference's units."""
    result: jax.Array
    """(...) int32, a LengthScaleResult."""


def scale_from_lengths(lengths: jax.Array, reference: jax.Array, mask: jax.Array | None = None) -> LengthScale:
    """The scale s that minimises Σ (s · length − reference)² over the inliers among K pairs of lengths, each (..., K).

    Inliers are the pairs whose log ratio reference / length lies within three spreads of the median one, the spread being 1.4826 times
    the median distance to it: what the standard deviation is for normal noise. One pair gives one candidate, so that the median does all
    that RANSAC would, without a key, and stands up to anything that happens to fewer than half of the pairs; in the logarithm, so that a
    length twice too long and one twice too short are equally wrong. The choice is repeated among the inliers, because outliers on one
    side push the first median aside and widen its spread. Least squares then weighs long lengths more, whose relative error is less.

    Pairs outside the mask (..., K), and those of which either is not finite or not positive, do not count. Gradients take the inliers as
    given, and are finite everywhere.

    Raises:
        ValueError: lengths and references of different shapes.
    """
    lengths, reference = jnp.asarray(lengths), jnp.asarray(reference)
    if lengths.shape != reference.shape:
        raise ValueError(f"lengths have the shape {lengths.shape} and reference {reference.shape}; they are pairs, (..., K) each")
    counts = (lengths > 0) & (reference > 0) & jnp.isfinite(lengths) & jnp.isfinite(reference)
    counts = counts if mask is None else counts & jnp.asarray(mask, bool)
    if counts.shape[-1] == 0:  # an empty axis has no median
        return scale_from_lengths(*(jnp.zeros((*x.shape[:-1], 1), x.dtype) for x in (lengths, reference)))
    lengths, reference = jnp.where(counts, lengths, 1), jnp.where(counts, reference, 1)

    log_ratio = jax.lax.stop_gradient(jnp.log(reference) - jnp.log(lengths))
    inliers = counts
    for _ in range(ROUNDS):
        center = jnp.nanmedian(jnp.where(inliers, log_ratio, jnp.nan), axis=-1, keepdims=True)
        distance = jnp.abs(log_ratio - center)
        spread = 1.4826 * jnp.nanmedian(jnp.where(inliers, distance, jnp.nan), axis=-1, keepdims=True)
        rounding = 16 * jnp.finfo(log_ratio.dtype).eps * jnp.maximum(jnp.abs(center), 1)  # what is left of an exact ratio
        inliers = counts & (distance <= jnp.maximum(3 * spread, rounding))

    some = inliers.any(axis=-1)
    # Least squares as a correction of the median, so that float32 sums over millions of pairs round only the correction.
    first = jnp.exp(jnp.where(some, center[..., 0], 0))
    near = jnp.where(inliers, first[..., None] * lengths, 0)
    apart = jnp.where(inliers, reference, 0) - near
    scale = first * (1 + safe_divide(jnp.sum(near * apart, axis=-1), jnp.sum(near * near, axis=-1)))
    error = jnp.where(inliers, scale[..., None] * lengths - reference, 0)
    residual = safe_sqrt(jnp.sum(error * error, axis=-1) / jnp.maximum(inliers.sum(axis=-1), 1))
    share = inliers.sum(axis=-1) / jnp.maximum(counts.sum(axis=-1), 1)
    result = jnp.where(some, LengthScaleResult.SUCCESS, LengthScaleResult.TOO_FEW).astype(jnp.int32)
    return LengthScale(scale, share.astype(scale.dtype), residual, result)
