"""Metres: depth at a canonical focal length brought to the real one, and an any-view scene scaled to a metric network's depth.

Source: `NestedDepthAnything3Net` of the official code. Ours scales each scene by itself, takes quantiles over all its pixels and not over a
sample, and leaves a scene as it is that shows nothing but sky.
"""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp

from da3jax.geometry import Similarity
from da3jax.geometry.safe import safe_sqrt
from da3jax.models.sky import FEW_PIXELS, masked_quantile, split_sky
from da3jax.types import NetworkOutput

FARTHEST = 200.0
"""Metres that sky is put at, or nearer where nothing else is as far."""
_NEAREST, _NEAREST_METRIC = 1e-3, 1e-2


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class MetricScale:
    """What takes each of B scenes to metres."""

    scale: jax.Array
    """(B,) positive; 1 where it is not determined."""
    determined: jax.Array
    """(B,) bool; False for a scene that shows hardly anything but sky."""
    residual: jax.Array
    """(B,) metres, root mean square difference of the two depths over the pixels that the scale was fitted to."""


def in_metres(depth: jax.Array, intrinsics: jax.Array, canonical_focal: float) -> jax.Array:
    """Metres of a metric network's depth (..., H, W), given at a focal length of `canonical_focal` pixels, for intrinsics (..., 3, 3)."""
    focal = (intrinsics[..., 0, 0] + intrinsics[..., 1, 1]) / 2
    return depth * (focal / canonical_focal)[..., None, None]


def in_world(output: NetworkOutput, similarity: Similarity) -> NetworkOutput:
    """The output with depth, cameras and rays in the frame that a similarity (B,) leads to, from the network's own."""
    ray = output.ray
    if ray is not None:
        turn = dataclasses.replace(similarity, scale=jnp.ones_like(similarity.scale), translation=jnp.zeros_like(similarity.translation))
        ray = jnp.concatenate([turn.apply(ray[..., :3]), similarity.apply(ray[..., 3:])], axis=-1)
    depth = output.depth * similarity.scale[:, None, None, None]
    return dataclasses.replace(output, depth=depth, ray=ray, extrinsics=similarity.apply_to_cameras(output.extrinsics))


def fit_metric_scale(
    depth: jax.Array, conf: jax.Array, metres: jax.Array, sky: jax.Array, view_mask: jax.Array | None = None
) -> MetricScale:
    """The s of each scene that minimises Σ (s · depth − metres)²; all maps (B, S, H, W).

    Only pixels count that are no sky, no less confident than the median of those, not right in front of the camera, and in no view that
    `view_mask` (B, S) has False.
    """
    _, ground = split_sky(sky, view_mask)
    depth, conf, metres, ground = (x.reshape(len(x), -1) for x in (depth, conf, metres, ground))
    median = jax.vmap(partial(masked_quantile, percent=50))(conf, ground)
    chosen = ground & (conf >= median[:, None]) & (metres > _NEAREST_METRIC) & (depth > _NEAREST)
    products, squares = (jnp.sum(jnp.where(chosen, depth * x, 0), axis=-1) for x in (metres, depth))
    determined = (ground.sum(axis=-1) > FEW_PIXELS) & (squares > 0)
    scale = jnp.where(determined, products / jnp.where(determined, squares, 1), 1)
    errors = jnp.where(chosen, scale[:, None] * depth - metres, 0)
    residual = safe_sqrt(jnp.sum(errors**2, axis=-1) / jnp.maximum(chosen.sum(axis=-1), 1))
    return MetricScale(scale, determined, residual)


def scaled_to_metric(
    output: NetworkOutput, canonical_focal: float, view_mask: jax.Array | None = None
) -> tuple[NetworkOutput, MetricScale]:
    """A nested network's output with depth, translations and ray origins in metres, by its own intrinsics; `metric_depth` in metres too.

    Sky is put at the 99 % quantile of the scene's other depth, at most `FARTHEST`, and its confidence is 1.0, the least there is, as
    officially. Scenes whose scale is not determined keep depth, confidence and cameras. Views that `view_mask` (B, S) has False
    do not count.
    """
    metres = in_metres(output.metric_depth, output.intrinsics, canonical_focal)
    fit = fit_metric_scale(output.depth, output.depth_conf, metres, output.sky, view_mask)
    moved = in_world(output, dataclasses.replace(Similarity.identity((len(fit.scale),)), scale=fit.scale))
    depth = moved.depth
    is_sky, is_other = split_sky(output.sky, view_mask)
    far = jax.vmap(partial(masked_quantile, percent=99))(depth.reshape(len(depth), -1), is_other.reshape(len(depth), -1))
    filled = is_sky & fit.determined[:, None, None, None]
    depth = jnp.where(filled, jnp.minimum(far, FARTHEST)[:, None, None, None], depth)
    conf = jnp.where(filled, 1.0, output.depth_conf)
    return dataclasses.replace(moved, depth=depth, depth_conf=conf, metric_depth=metres), fit
