"""Bilinear resampling of feature maps with aligned corners."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def resize_align_corners(x: jax.Array, height: int, width: int) -> jax.Array:
    """Bilinear resampling of x (..., h, w, C) to (..., height, width, C); the corner pixels of both lie on each other."""
    return _resample(_resample(x, height, x.ndim - 3), width, x.ndim - 2)


def _resample(x: jax.Array, target: int, axis: int) -> jax.Array:
    """Along one axis: the two nearest samples, blended. Faster than a matrix product on a CPU."""
    source = x.shape[axis]
    if source == target:
        return x
    place = np.arange(target) * ((source - 1) / (target - 1) if target > 1 else 0.0)
    low = np.minimum(place.astype(np.int32), max(source - 2, 0))
    high = np.minimum(low + 1, source - 1)
    share = (place - low).astype(np.float32).reshape([-1 if i == axis else 1 for i in range(x.ndim)])
    below, above = jnp.take(x, low, axis=axis), jnp.take(x, high, axis=axis)
    return below + (above - below) * share.astype(x.dtype)
