"""Means over the pixels that count. The others, NaN or not, add nothing to a value and nothing to a gradient."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from da3jax.geometry.safe import safe_divide


def keep(mask: jax.Array, *arrays: jax.Array) -> tuple[jax.Array, ...]:
    """The arrays (*mask.shape, *any) with zeros where the mask is False.

    To be used before any arithmetic: a gradient that is stopped behind a NaN is 0 · NaN, one that is stopped before it is 0.
    """
    return tuple(jnp.where(mask.reshape(*mask.shape, *(1,) * (x.ndim - mask.ndim)), x, 0) for x in arrays)


def masked_mean(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean () of the x (...) that the mask (...) has True; 0 for none."""
    return jnp.sum(jnp.where(mask, x, 0)) / jnp.maximum(jnp.sum(mask), 1)


def masked_median(x: jax.Array, mask: jax.Array) -> jax.Array:
    """Median (..., 1) over the last axis of the x (..., N) that the mask has True, the lower of two in the middle; 0 for none."""
    count = jnp.sum(mask, axis=-1, keepdims=True)
    middle = jnp.take_along_axis(jnp.sort(jnp.where(mask, x, jnp.inf), axis=-1), jnp.maximum(count - 1, 0) // 2, axis=-1)
    return jnp.where(count > 0, middle, 0)


def median_and_deviation(x: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The median (..., 1) over the last axis of x (..., N), and the mean absolute deviation from it; zeros where the mask has none."""
    median = masked_median(x, mask)
    deviation = jnp.sum(jnp.where(mask, jnp.abs(x - median), 0), axis=-1, keepdims=True)
    return median, safe_divide(deviation, jnp.sum(mask, axis=-1, keepdims=True).astype(x.dtype))
