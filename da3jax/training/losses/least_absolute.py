"""The scale and shift of least weighted absolute error: MoGe's alignment, robust, optimal and efficient (ROE)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from da3jax.geometry.safe import safe_divide
from da3jax.training.losses.masked import median_and_deviation


def align_least_absolute(prediction: jax.Array, target: jax.Array, weight: jax.Array, *, samples: int) -> tuple[jax.Array, jax.Array]:
    """Scales s > 0 (...) and shifts t (...) that minimise Σ w |s · prediction + t − target| over the last axis of maps (..., N).

    Weights w (..., N) are from 0 on; where one is 0 neither map needs to be finite. Some best line passes through two of the points, so
    each point is taken as one of them, and the slope through it is a weighted median of the slopes to all others. That is quadratic, hence
    done for at most `samples` points, spread over those with a weight. Where no such slope is positive, because the prediction falls where
    the target rises, medians and mean deviations give the line: then the loss can still say in which direction to go. Scale 0 where even
    that fails: fewer than two points, or a constant prediction.

    Scale and shift are constants for gradients. As the fit is a minimum, the loss that it minimises has the same gradient with them fixed,
    but for the two points that the line passes through. The gradient of the line would put all that a sample gets wrong on these two.
    Source: MoGe (arXiv 2410.19115), section 3.2, for depth in place of points and without its truncation of large errors.
    """
    fixed = jax.lax.stop_gradient((prediction, target, weight))
    size = prediction.shape[-1]
    flat = tuple(x.reshape(-1, size) for x in fixed)
    # One map after the other, or, of many small ones, as many at once as fill the memory that a large one takes.
    fits = jax.lax.map(lambda maps: _fit(*maps, min(samples, size)), flat, batch_size=max(1, (1024 // min(samples, size)) ** 2))
    return tuple(x.reshape(prediction.shape[:-1]) for x in fits)


def _fit(x: jax.Array, y: jax.Array, weight: jax.Array, samples: int) -> tuple[jax.Array, jax.Array]:
    """Scale () and shift () of one map, given as vectors."""
    x, y, weight = _spread(x, y, weight, samples)
    x_apart, y_apart = x[None] - x[:, None], y[None] - y[:, None]  # (through, other)
    pull = weight[None] * jnp.abs(x_apart)
    slopes, pull = jax.lax.sort((safe_divide(y_apart, x_apart), pull), num_keys=1)
    below = jnp.cumsum(pull, axis=1)
    scales = jnp.take_along_axis(slopes, jnp.argmax(below >= below[:, -1:] / 2, axis=1)[:, None], axis=1)[:, 0]
    shifts = y - scales * x

    (x_median, x_deviation), (y_median, y_deviation) = (median_and_deviation(z, weight > 0) for z in (x, y))
    fallback = safe_divide(y_deviation, x_deviation)
    scales, shifts = jnp.append(scales, fallback), jnp.append(shifts, y_median - fallback * x_median)

    errors = jnp.sum(weight[None] * jnp.abs(scales[:, None] * x[None] + shifts[:, None] - y[None]), axis=1)
    counts = (scales > 0) & jnp.append(weight > 0, True)
    best = jnp.argmin(jnp.where(counts, errors, jnp.inf))
    return jnp.where(counts[best], scales[best], 0), jnp.where(counts[best], shifts[best], 0)


def _spread(x: jax.Array, y: jax.Array, weight: jax.Array, samples: int) -> list[jax.Array]:
    """All points with a weight where there are at most `samples`, else that many of them: one at random from each of equal stretches.

    At equal distances they could all be of a few columns of an image.
    """
    weight = weight.astype(x.dtype)
    below = jnp.cumsum(weight > 0)
    total = below[-1]
    order = np.arange(samples)
    drawn = (order + np.random.default_rng(0).random(samples, dtype=np.float32)) * (total / samples)
    rank = jnp.where(total <= samples, order, drawn.astype(below.dtype))
    index = jnp.minimum(jnp.searchsorted(below, jnp.minimum(rank, total - 1), side="right"), len(x) - 1)
    taken = jnp.where(order < total, weight[index], 0)
    return [*(jnp.where(taken > 0, z[index], 0) for z in (x, y)), taken]
