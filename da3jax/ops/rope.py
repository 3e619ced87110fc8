"""Rotary position embedding over two image axes (RoPE 2-D, base 100)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

BASE = 100.0

Rotation = tuple[np.ndarray, np.ndarray]
"""Cosines and sines, each (1, 1, N, 1, D): a row for each token, the same for all scenes, views and heads."""


def in_view_rotation(rows: int, columns: int, width: int) -> Rotation:
    """Rotations of a view's tokens: the special token at (0, 0), the patch of row i and column j at (i + 1, j + 1)."""
    grid = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), axis=-1).reshape(-1, 2) + 1
    return _rotation(np.concatenate([np.zeros((1, 2)), grid]), width)


def cross_view_rotation(rows: int, columns: int, width: int) -> Rotation:
    """Rotations across views, where a patch's place does not count: special token at (0, 0), every patch at (1, 1)."""
    return _rotation(np.concatenate([np.zeros((1, 2)), np.ones((rows * columns, 2))]), width)


def rotate(x: jax.Array, rotation: Rotation) -> jax.Array:
    """Rotates x (B, S, N, H, D); within each half of D (rows, then columns) channel k turns with channel k + D/4."""
    cos, sin = rotation
    a, b, c, d = jnp.split(x, 4, axis=-1)
    turned = jnp.concatenate([-b, a, -d, c], axis=-1)
    return x * cos.astype(x.dtype) + turned * sin.astype(x.dtype)


def _rotation(positions: np.ndarray, width: int) -> Rotation:
    frequencies = BASE ** (-np.arange(width // 4) / (width // 4))
    angles = positions[:, :, None] * frequencies  # (N, 2, D/4)
    angles = np.concatenate([angles, angles], axis=-1).reshape(1, 1, len(positions), 1, width)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)
