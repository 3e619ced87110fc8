"""The point nearest to many, in sum of distances rather than of squares: up to half of them may lie anywhere."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax


def weighted_mean(points: jax.Array, weights: jax.Array) -> jax.Array:
    """(k,) of points (k, n) with weights (n,); zero where all weights are."""
    total = weights.sum()
    return points @ weights / jnp.where(total > 0, total, 1)


def geometric_median(start: jax.Array, points: jax.Array, weights: jax.Array, steps: int) -> jax.Array:
    """Weiszfeld's iteration from `start` (k,), with distances rounded off near zero, where all derivatives stay finite."""
    spread = weighted_mean(jnp.square(points - start[:, None]), weights).sum()
    floor = 1e-4 * spread + 1e-12 * (1 + jnp.sum(start * start))

    def nearer(center, _):
        away = points - center[:, None]
        return center + weighted_mean(away, weights / jnp.sqrt(jnp.sum(away * away, axis=0) + floor)), None

    return lax.scan(nearer, start, length=steps)[0]
