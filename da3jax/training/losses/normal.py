"""Surface normals of depth maps, by angle."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from da3jax.geometry import unproject
from da3jax.geometry.safe import safe_norm, safe_normalize
from da3jax.training.losses.masked import keep, masked_mean


def normal_loss(depth: jax.Array, target: jax.Array, mask: jax.Array, intrinsics: jax.Array, normals: jax.Array | None = None) -> jax.Array:
    """Mean () angle, in radians, between the normals of two depth maps (..., H, W): that of the mean normals plus those of the four.

    A pixel's four normals n_i are cross products of the ways to neighbours that follow each other (right, up, left, down); their mean
    weighs n_i / ‖n_i‖ by Σ ‖n_j‖ − ‖n_i‖, so that neighbours far away count less. Both maps are unprojected with the intrinsics (..., 3, 3)
    in pixels. Pixels count that are in the mask (..., H, W) with their four neighbours, so none at the border. True `normals` (..., H, W,
    3) in the camera's frame and towards the camera take the place of the target's mean normal where they are finite and not zero. Source:
    Depth Anything 3, section 4.1, eq. 4 to 6.
    """
    depth, target = keep(mask, depth, target)
    inside = mask[..., 1:-1, 1:-1]
    for rows, columns in _NEIGHBOURS:
        inside = inside & mask[..., rows, columns]
    four, mean = _normals(unproject(depth, intrinsics))
    true_four, true_mean = _normals(unproject(target, intrinsics))
    if normals is not None:
        given = normals[..., 1:-1, 1:-1, :]
        known = jnp.all(jnp.isfinite(given), axis=-1, keepdims=True) & jnp.any(given != 0, axis=-1, keepdims=True)
        true_mean = jnp.where(known, safe_normalize(jnp.where(known, given, 1)), true_mean)
    angles = _angle(mean, true_mean) + sum(_angle(n, true) for n, true in zip(four, true_four, strict=True))
    return masked_mean(angles, inside)


_HERE, _LESS, _MORE = slice(1, -1), slice(None, -2), slice(2, None)
_NEIGHBOURS = ((_HERE, _MORE), (_LESS, _HERE), (_HERE, _LESS), (_MORE, _HERE))
"""Rows and columns of the pixels right of, above, left of and below the inner ones."""


def _normals(points: jax.Array) -> tuple[list[jax.Array], jax.Array]:
    """The four normals and their mean, each (..., H - 2, W - 2, 3) of length one, or zero where they are not determined."""
    ways = [points[..., rows, columns, :] - points[..., 1:-1, 1:-1, :] for rows, columns in _NEIGHBOURS]
    four = [jnp.cross(ways[i], ways[(i + 1) % 4]) for i in range(4)]
    lengths = [safe_norm(n, keepdims=True) for n in four]
    unit = [safe_normalize(n) for n in four]
    mean = sum((sum(lengths) - length) * n for length, n in zip(lengths, unit, strict=True))
    return unit, safe_normalize(mean)


def _angle(a: jax.Array, b: jax.Array) -> jax.Array:
    """Angle (...) between vectors (..., 3) of length one; 0, without a gradient, where one is zero."""
    sine, cosine = safe_norm(jnp.cross(a, b)), jnp.sum(a * b, axis=-1)
    known = (sine != 0) | (cosine != 0)
    return jnp.arctan2(jnp.where(known, sine, 0), jnp.where(known, cosine, 1))
