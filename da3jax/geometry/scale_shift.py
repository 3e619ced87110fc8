"""Depth of unknown scale and shift brought onto sparse or noisy metric depth."""

from __future__ import annotations

import dataclasses
import enum

import jax
import jax.numpy as jnp

from da3jax.geometry.safe import floats, safe_divide, safe_sqrt

ROUNDS = 6
"""Least-squares fits, each to the inliers of the one before."""


class ScaleShiftResult(enum.IntEnum):
    """How a fit of scale and shift ended.

    Unless with SUCCESS the scale is 1, the shift 0, no pixel an inlier, and the residual that of all pixels.
    """

    SUCCESS = 0
    TOO_FEW = 1
    """Fewer than two pixels count."""
    CONSTANT = 2
    """The prediction is the same wherever the reference is known."""
    NOT_POSITIVE = 3
    """No positive scale fits: the reference falls where the prediction rises, or is constant."""


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class ScaleShift:
    """reference ≈ scale · prediction + shift; any leading axes."""

    scale: jax.Array
    """(...) positive."""
    shift: jax.Array
    """(...) in the reference's units."""
    inlier_share: jax.Array
    """(...) of the pixels that count, those nearer to the fit than the threshold."""
    residual: jax.Array
    """(...) root mean square error of these pixels, in the reference's units."""
    result: jax.Array
    """(...) int32, a ScaleShiftResult."""

    def apply(self, prediction: jax.Array) -> jax.Array:
        """The prediction (..., H, W) in the reference's units."""
        return self.scale[..., None, None] * prediction + self.shift[..., None, None]


def align_scale_shift(
    prediction: jax.Array, reference: jax.Array, mask: jax.Array, key: jax.Array, *, tries: int = 128, samples: int = 2048
) -> ScaleShift:
    """Scale s > 0 and shift t for each map (..., H, W) that minimise Σ m (s · prediction + t − reference)² over RANSAC's inliers.

    Each of `tries` candidates passes through two random pixels of the mask (..., H, W) and is judged on `samples` others. The inlier
    threshold is the mean absolute deviation of the residuals from their median, of the candidate for which it is least; the candidate
    with most inliers wins, and least squares over all its inliers gives the result. Far outliers make that threshold wide, so it is then
    lowered, fit by fit, to three mean deviations of the inliers, which leaves normal noise as it is. Gradients take the inliers as given.
    Pixels where either map is not finite do not count. All maps get the same key.
    Source: Depth Anything 3, section 4.2 (alignment of the teacher).

    Raises:
        ValueError: maps or a mask of different shapes.
    """
    prediction, reference, mask = floats(prediction), floats(reference), jnp.asarray(mask)
    if not prediction.shape == reference.shape == mask.shape:
        raise ValueError(f"prediction, reference and mask have the shapes {prediction.shape}, {reference.shape}, {mask.shape}; it is one")
    shape, size = prediction.shape[:-2], prediction.shape[-2] * prediction.shape[-1]
    flat = (x.reshape(-1, size) for x in (prediction, reference, mask))
    fit = jax.vmap(lambda x, y, m: _align(x, y, m, key, tries, samples))(*flat)
    return jax.tree.map(lambda x: x.reshape(shape), fit)


def _align(x: jax.Array, y: jax.Array, mask: jax.Array, key: jax.Array, tries: int, samples: int) -> ScaleShift:
    """The fit of one map, given as vectors."""
    mask = mask.astype(bool) & jnp.isfinite(x) & jnp.isfinite(y)
    x, y = jnp.where(mask, x, 0), jnp.where(mask, y, 0)
    total = mask.sum()
    some = jnp.maximum(total, 1)

    below = jnp.cumsum(mask)
    drawn = jnp.floor(jax.random.uniform(key, (2 * tries + samples,)) * some).astype(below.dtype)
    index = jnp.searchsorted(below, jnp.minimum(drawn, some - 1), side="right")
    first, second, judges = jnp.split(index, [tries, 2 * tries])
    fixed_x, fixed_y = jax.lax.stop_gradient((x, y))
    scales = safe_divide(fixed_y[second] - fixed_y[first], fixed_x[second] - fixed_x[first])
    shifts = fixed_y[first] - scales * fixed_x[first]
    errors = scales[:, None] * fixed_x[None, judges] + shifts[:, None] - fixed_y[None, judges]  # (tries, samples)
    deviation = jnp.mean(jnp.abs(errors - jnp.median(errors, axis=1, keepdims=True)), axis=1)
    noise = 16 * jnp.finfo(x.dtype).eps * jnp.max(jnp.abs(fixed_y))  # what rounding leaves of an exact fit
    threshold = jnp.maximum(jnp.min(jnp.where(scales > 0, deviation, jnp.inf)), noise)
    count = jnp.where(scales > 0, jnp.sum(jnp.abs(errors) <= threshold, axis=1), -1)
    best = jnp.argmax(count)

    scale, shift = scales[best], shifts[best]
    for _ in range(ROUNDS):
        error = jnp.abs(scale * x + shift - y)
        inliers = mask & (error <= threshold)
        deviation = jnp.sum(jnp.where(inliers, error, 0)) / jnp.maximum(inliers.sum(), 1)
        threshold = jnp.clip(3 * deviation, noise, threshold)
        scale, shift = _least_squares(x, y, inliers)

    _, spread = _moments(x, mask)
    failures = [total < 2, spread <= (16 * jnp.finfo(x.dtype).eps * jnp.max(jnp.abs(x))) ** 2, ~(scale > 0)]
    result = jnp.select(failures, [int(r) for r in ScaleShiftResult][1:], 0).astype(jnp.int32)
    scale, shift = jnp.where(result == 0, scale, 1), jnp.where(result == 0, shift, 0)
    error = scale * x + shift - y
    inliers = mask & (jnp.abs(error) <= threshold) & (result == 0)
    judged = jnp.where(result == 0, inliers, mask)
    residual = safe_sqrt(jnp.sum(jnp.where(judged, error, 0) ** 2) / jnp.maximum(judged.sum(), 1))
    return ScaleShift(scale, shift, inliers.sum() / some, residual, result)


def _least_squares(x: jax.Array, y: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Scale and shift over the pixels of the mask; scale 0 where it is not determined."""
    mean_x, spread = _moments(x, mask)
    mean_y, _ = _moments(y, mask)
    product = jnp.sum(jnp.where(mask, (x - mean_x) * (y - mean_y), 0)) / jnp.maximum(mask.sum(), 1)
    scale = safe_divide(product, spread)
    return scale, mean_y - scale * mean_x


def _moments(x: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Mean and variance over the pixels of the mask; zeros for none."""
    count = jnp.maximum(mask.sum(), 1)
    mean = jnp.sum(jnp.where(mask, x, 0)) / count
    return mean, jnp.sum(jnp.where(mask, (x - mean) ** 2, 0)) / count
