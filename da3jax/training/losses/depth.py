"""Depth against depth: absolute, relative, its gradients, and up to scale and shift."""

from __future__ import annotations

import einops
import jax
import jax.numpy as jnp

from da3jax.geometry.safe import safe_divide
from da3jax.training.losses.confidence import confidence_loss
from da3jax.training.losses.masked import keep, masked_mean, median_and_deviation


def depth_loss(
    depth: jax.Array,
    target: jax.Array,
    mask: jax.Array,
    confidence: jax.Array | None = None,
    *,
    reward: float = 0.2,
    max_confidence: float | None = None,
) -> jax.Array:
    """Mean () over the mask of c · |D̂ − D| − λ log c, all maps (...); of |D̂ − D| without a confidence.

    Depth is in the target's units. Source: Depth Anything 3, section 3.3, L_D; section 4.4 for the metric network, which has no confidence.
    """
    depth, target = keep(mask, depth, target)
    error = jnp.abs(depth - target)
    return confidence_loss(error, confidence, mask, reward=reward, max_confidence=max_confidence)


def relative_depth_loss(depth: jax.Array, target: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean () over the mask of |s · D̂ − D| / D with the best s for each scene, all maps (B, ...): AbsRel, but for the kind of scale.

    `depth_loss` asks most of what is far, where errors are large, and of the scene's scale, which is one number for all pixels. MoGe (arXiv
    2410.19115) weighs points by 1 / D and aligns them for the same reasons. The scale is a constant for gradients: see
    `align_least_absolute`.
    """
    depth, target = keep(mask, depth, target)
    ratio = safe_divide(depth, target)
    # Σ |s · r − 1| is least where 1 / s is the median of the r that count as much as they are large.
    ordered = jnp.sort(jnp.maximum(jax.lax.stop_gradient(ratio), 0).reshape(len(ratio), -1), axis=-1)
    below = jnp.cumsum(ordered, axis=-1)
    middle = jnp.take_along_axis(ordered, jnp.argmax(below >= below[:, -1:] / 2, axis=-1)[:, None], axis=-1)
    scale = safe_divide(jnp.ones_like(middle), middle).reshape(-1, *(1,) * (ratio.ndim - 1))
    return masked_mean(jnp.abs(scale * ratio - 1), mask)


def gradient_loss(depth: jax.Array, target: jax.Array, mask: jax.Array, *, scales: int = 4) -> jax.Array:
    """Mean () |∇x D̂ − ∇x D| + mean |∇y D̂ − ∇y D| of neighbours that are both in the mask, all maps (..., H, W), averaged over the scales.

    Scale k takes every 2ᵏth row and column. The average, and not the sum, keeps the term's weight the same for any number of scales.
    Source: Depth Anything 3, section 3.3, eq. 3, written there for one scale; the scales are those of MiDaS (arXiv 1907.01341).
    """
    depth, target = keep(mask, depth, target)
    error, total = depth - target, 0.0
    for step in (2**k for k in range(scales)):
        coarse, known = error[..., ::step, ::step], mask[..., ::step, ::step]
        total += masked_mean(jnp.abs(jnp.diff(coarse, axis=-1)), known[..., 1:] & known[..., :-1])
        total += masked_mean(jnp.abs(jnp.diff(coarse, axis=-2)), known[..., 1:, :] & known[..., :-1, :])
    return total / scales


def scale_shift_invariant_loss(depth: jax.Array, target: jax.Array, mask: jax.Array) -> jax.Array:
    """Mean () |D̂' − D'| over the mask, all maps (..., H, W), where D' = (D − median D) / mean |D − median D| for each map by itself.

    Neither a positive scale nor a shift of either depth changes it. Median and mean deviation rather than least squares: they stand up to
    outliers, and their scale is positive whatever the prediction, so that one that is upside down is told so. A constant map is all zeros.
    Source: MiDaS (arXiv 1907.01341, eq. 5 and 7) as in Depth Anything 2; Depth Anything 3, section 5.1, names the loss and not its form.
    """
    depth, target, mask = (einops.rearrange(x, "... h w -> ... (h w)") for x in (*keep(mask, depth, target), mask))
    normal = []
    for x in (depth, target):
        median, deviation = median_and_deviation(x, mask)
        normal.append(safe_divide(x - median, deviation))
    return masked_mean(jnp.abs(normal[0] - normal[1]), mask)
