"""What the single-view networks say about sky: its depth is set to the farthest of the rest."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp

SKY_THRESHOLD = 0.3
FEW_PIXELS = 10


def fill_sky(depth: jax.Array, sky: jax.Array, view_mask: jax.Array | None = None) -> jax.Array:
    """`depth` with the 99 % quantile of each scene's non-sky depth where `sky` ≥ 0.3; both (B, S, H, W).

    A scene with at most ten sky pixels, or at most ten others, stays as it is. The official network takes one quantile over all scenes of
    a call, from an unseeded sample when there are more than 100 000 pixels. Views that `view_mask` (B, S) has False do not count.
    """
    is_sky, is_other = (x.reshape(x.shape[0], -1) for x in split_sky(sky, view_mask))
    far = jax.vmap(partial(masked_quantile, percent=99))(depth.reshape(depth.shape[0], -1), is_other)
    fill = (is_other.sum(axis=-1) > FEW_PIXELS) & (is_sky.sum(axis=-1) > FEW_PIXELS)
    shape = (-1, *[1] * (depth.ndim - 1))
    return jnp.where((sky >= SKY_THRESHOLD) & fill.reshape(shape), far.reshape(shape), depth)


def split_sky(sky: jax.Array, view_mask: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """The pixels of (B, S, H, W) that are sky, and those that are not, both without the views that `view_mask` (B, S) has False."""
    is_sky = sky >= SKY_THRESHOLD
    if view_mask is None:
        return is_sky, ~is_sky
    counts = view_mask[..., None, None]
    return is_sky & counts, ~is_sky & counts


def masked_quantile(values: jax.Array, mask: jax.Array, percent: int) -> jax.Array:
    """The `percent` % quantile, linearly interpolated, of `values[mask]`; both (K,). Infinite for an empty mask."""
    ordered = jnp.sort(jnp.where(mask, values, jnp.inf))
    last = jnp.maximum(jnp.sum(mask) - 1, 0)
    # In whole numbers: float32 cannot tell the ranks of a large scene apart, and last · percent would overflow.
    hundreds, rest = last // 100, last % 100 * percent
    rank = hundreds * percent + rest // 100
    low, high = ordered[rank], ordered[jnp.minimum(rank + 1, last)]
    return jnp.where(low < high, low + (high - low) * (rest % 100) / 100, low)
