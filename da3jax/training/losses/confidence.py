"""An error weighted by the confidence that the network itself gives, with a guard against confidence that runs away."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from da3jax.training.losses.masked import keep, masked_mean


def confidence_loss(
    error: jax.Array, confidence: jax.Array | None, mask: jax.Array, *, reward: float, max_confidence: float | None = None
) -> jax.Array:
    """Mean () over the mask (...) of c · error − λ log c, for errors (...) from 0 on, confidences c (...) from 1 on and λ = `reward`.

    Without a confidence it is the mean of the errors alone.

    It is least at c = λ / error, so where errors go to zero c grows without end, and with it the steps that the network takes.
    `max_confidence` ends that: a c above it counts as if it were the maximum, in both terms. Such a c has no gradient, except where the
    error asks for less than the maximum: there it is pulled down as it would be at the maximum, so that no pixel stays too sure for good.
    Source: Depth Anything 3, section 3.3 (the depth loss).
    """
    if confidence is None:
        return masked_mean(error, mask)
    error, confidence = keep(mask, error, confidence)
    confidence = jnp.where(mask, confidence, 1)
    if max_confidence is None:
        return masked_mean(confidence * error - reward * jnp.log(confidence), mask)
    used = jnp.minimum(confidence, max_confidence)
    pull = jax.lax.stop_gradient(jnp.maximum(error - reward / max_confidence, 0)) * (confidence > max_confidence)
    nothing = confidence - jax.lax.stop_gradient(confidence)  # 0, with the gradient of the confidence
    return masked_mean(used * error - reward * jnp.log(used) + pull * nothing, mask)


def confidence_statistics(confidence: jax.Array, mask: jax.Array, max_confidence: float | None = None) -> dict[str, jax.Array]:
    """What to watch of confidences (...) over the mask (...): `mean`, `max`, and `clamped`, the share above the maximum; zeros for none.

    A mean that keeps growing, or a share that nears 1, says that the confidence has stopped telling pixels apart.
    """
    (kept,) = keep(mask, jax.lax.stop_gradient(confidence))
    limit = jnp.inf if max_confidence is None else max_confidence
    return {"mean": masked_mean(kept, mask), "max": jnp.max(kept), "clamped": masked_mean((kept > limit).astype(kept.dtype), mask)}
