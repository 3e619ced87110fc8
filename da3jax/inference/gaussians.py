"""Gaussians of a result, in the world of its depth and cameras; or as the official code leaves them."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from da3jax.geometry import gaussians_from_raw, invert_rigid, umeyama
from da3jax.types import Gaussians, NetworkOutput

_LEAST, _MOST = 1 / 3, 3.0
"""Of the scale to known cameras, officially."""


def world_gaussians(output: NetworkOutput, scale: jax.Array | None) -> Gaussians:
    """Gaussians (B, S, H, W, ...) by the depth and the cameras of a result, which has no extrinsics where each view is its own world.

    `scale` (B,) is what the network's depth has been multiplied by; None for nothing.
    """
    arguments = output.raw_gs, output.raw_gs_conf, output.depth, output.extrinsics, output.intrinsics
    return gaussians_from_raw(*arguments, depth_scale=None if scale is None else scale[:, None])


def official_gaussians(output: NetworkOutput, known: jax.Array | None, view_mask: jax.Array | None) -> Gaussians:
    """The same as the official code has them, from the network's output before it is brought to metres or to known cameras.

    They are in the network's own world, and with the extrinsics (B, S, 3, 4) that the network was conditioned on at their scale: that of
    the similarity from predicted to known centres, clamped. Views that `view_mask` (B, S) has False do not count.
    """
    depth, extrinsics = output.depth, output.extrinsics
    scale = None
    if known is not None:
        predicted, wanted = (invert_rigid(x)[..., 3] for x in (extrinsics, known))
        scale = jnp.clip(umeyama(predicted, wanted, view_mask).similarity.scale, _LEAST, _MOST)[:, None]
        depth = depth * scale[..., None, None]
        extrinsics = jnp.concatenate([extrinsics[..., :3], extrinsics[..., 3:] * scale[..., None, None]], axis=-1)
    arguments = output.raw_gs, output.raw_gs_conf, depth, extrinsics, output.intrinsics
    return gaussians_from_raw(*arguments, depth_scale=scale, official=True)
