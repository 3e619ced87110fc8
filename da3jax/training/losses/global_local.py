"""The teacher's depth loss: up to scale and shift, over the view and again over windows of several sizes."""

from __future__ import annotations

from collections.abc import Sequence

import einops
import jax
import jax.numpy as jnp

from da3jax.geometry.safe import safe_divide
from da3jax.training.losses.least_absolute import align_least_absolute
from da3jax.training.losses.masked import keep, masked_mean, masked_median

NEAREST = 0.1
"""Of the harmonic mean depth of a view: nearer pixels count as if they were there. Source: MoGe."""
APART = 10.0
"""Windows count whose scale differs from the view's by less than this factor. Source: MoGe."""


def align_depth(depth: jax.Array, target: jax.Array, mask: jax.Array, *, samples: int = 1024) -> tuple[jax.Array, jax.Array]:
    """Scale (...) and shift (...) that bring each depth map (..., H, W) onto its target with the least absolute relative error.

    Scale 0 where they are not determined. Constants for gradients. Source: see `global_local_loss`.
    """
    maps = (einops.rearrange(x, "... h w -> ... (h w)") for x in (depth, target, _weights(target, mask)))
    return align_least_absolute(*maps, samples=samples)


def global_local_loss(
    depth: jax.Array,
    target: jax.Array,
    mask: jax.Array,
    intrinsics: jax.Array,
    *,
    levels: Sequence[int] = (4, 16, 64),
    samples: int = 1024,
    least_pixels: int = 32,
    alignment: tuple[jax.Array, jax.Array] | None = None,
) -> jax.Array:
    """Mean () |s · D̂ + t − D| / D over the mask with the best s > 0 and t for each view, plus the same with the best for each window.

    Depth, target and mask are (..., H, W), intrinsics (..., 3, 3) in pixels, `alignment` what `align_depth` gave, if it was called before.
    A level L divides a view into L × L windows, each a mean of its own in the sum. Of a window those pixels count whose true depth is at
    most half its diagonal, at that depth, away from its median depth: so an alignment is that of one surface. Windows do not count that
    have fewer than `least_pixels` of them, or a scale ten times larger or smaller than the view's. Alignments are constants for gradients.

    Source: Depth Anything 3, section 4.1, which takes the loss from MoGe (arXiv 2410.19115, sections 3.2 and 3.3). MoGe aligns points,
    within balls around random points. Here the truth is depth and the rays are known, so it is depth that is aligned, without a shift
    across the view, and windows of the balls' sizes on a fixed grid take the place of the balls: the same input always has the same loss.
    """
    depth, target = keep(mask, depth, target)
    weight = _weights(target, mask)
    scale, shift = align_depth(depth, target, mask, samples=samples) if alignment is None else alignment
    lines = (scale[..., None, None], shift[..., None, None])
    total = _error(depth, target, weight, lines, mask & (lines[0] > 0))

    height, width = mask.shape[-2:]
    for level in levels:
        h, w = -(-height // level), -(-width // level)
        if h * w < least_pixels:
            continue
        x, y, v, known = (_windows(z, h, w) for z in (depth, target, weight, mask))  # (..., windows, pixels)
        middle = masked_median(y, known)
        half = jnp.hypot(h / intrinsics[..., 1, 1], w / intrinsics[..., 0, 0])[..., None, None] / 2
        known = known & (jnp.abs(y - middle) <= half * middle)
        fits = align_least_absolute(x, y, jnp.where(known, v, 0), samples=max(samples // level, 2))
        lines = tuple(z[..., None] for z in fits)
        whole = scale[..., None, None]
        counts = (lines[0] * APART > whole) & (lines[0] < whole * APART) & (jnp.sum(known, axis=-1, keepdims=True) >= least_pixels)
        total += _error(x, y, v, lines, known & counts)
    return total


def _error(x: jax.Array, y: jax.Array, weight: jax.Array, lines: tuple[jax.Array, jax.Array], mask: jax.Array) -> jax.Array:
    scale, shift = lines
    return masked_mean(weight * jnp.abs(scale * x + shift - y), mask)


def _weights(target: jax.Array, mask: jax.Array) -> jax.Array:
    """1 / D (..., H, W), at most 1 / NEAREST times its mean over the view; 0 outside the mask."""
    inverse = jnp.where(mask, 1 / jnp.where(mask, target, 1), 0)
    mean = safe_divide(jnp.sum(inverse, axis=(-2, -1), keepdims=True), jnp.sum(mask, axis=(-2, -1), keepdims=True).astype(inverse.dtype))
    return jnp.minimum(inverse, mean / NEAREST)


def _windows(x: jax.Array, h: int, w: int) -> jax.Array:
    """Maps (..., H, W) as windows of h × w pixels, (..., windows, h · w); those over the border are filled with zeros."""
    height, width = x.shape[-2:]
    x = jnp.pad(x, ((0, 0),) * (x.ndim - 2) + ((0, -height % h), (0, -width % w)))
    return einops.rearrange(x, "... (rows h) (columns w) -> ... (rows columns) (h w)", h=h, w=w)
