"""Rigid transforms as (..., 3, 4) or (..., 4, 4) matrices."""

from __future__ import annotations

import jax
import jax.numpy as jnp


def invert_rigid(transform: jax.Array) -> jax.Array:
    """The inverse (..., 3, 4) of a rigid transform (..., 3 or 4, 4): world-to-camera from camera-to-world, and back."""
    rotation = jnp.swapaxes(transform[..., :3, :3], -1, -2)
    return jnp.concatenate([rotation, -rotation @ transform[..., :3, 3:]], axis=-1)
