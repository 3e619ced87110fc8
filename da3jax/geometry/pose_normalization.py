"""Known cameras as the camera encoder was trained to see them: from the first one, at a scale of their own."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from da3jax.geometry.rigid import compose_rigid, invert_rigid
from da3jax.geometry.safe import safe_norm


def normalize_poses(extrinsics: jax.Array, mask: jax.Array | None = None, *, nearest: float = 0.1) -> jax.Array:
    """World-to-camera (..., S, 3, 4) in the first camera's frame, from (..., S, 3 or 4, 4) in any, translations at unit scale.

    That scale is the median distance of the cameras from the first one, whose own distance of zero counts, the lower of two in the
    middle, and at least `nearest`. Cameras that the mask (..., S) has False do not count, and the first camera's is True. Far from the
    world's origin float32 cannot tell cameras apart: what gives matrices as large as map coordinates takes the first step, E · E₀⁻¹, in
    float64 before. Source: `_normalize_extrinsics` of the official API.
    """
    relative = compose_rigid(extrinsics, invert_rigid(extrinsics[..., :1, :, :]))
    distances = safe_norm(relative[..., 3])
    mask = jnp.ones_like(distances, bool) if mask is None else mask
    distances = jnp.sort(jnp.where(mask, distances, jnp.inf), axis=-1)
    middle = (jnp.sum(mask, axis=-1, keepdims=True) - 1) // 2
    scale = jnp.maximum(jnp.take_along_axis(distances, middle, axis=-1)[..., 0], nearest)
    return relative.at[..., 3].divide(scale[..., None, None])
