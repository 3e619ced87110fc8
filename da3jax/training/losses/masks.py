"""Sky and object masks."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from da3jax.training.losses.masked import keep, masked_mean


def mask_loss(predicted: jax.Array, target: jax.Array) -> jax.Array:
    """Mean squared error () of a predicted mask (...), 1 for yes, against a bool one, or one of 0 to 1 with NaN where nobody knows.

    Source: Depth Anything 3, section 4.1, L_sky and L_obj.
    """
    target = jnp.asarray(target, predicted.dtype)
    known = jnp.isfinite(target)
    predicted, target = keep(known, predicted, target)
    return masked_mean(jnp.square(predicted - target), known)
