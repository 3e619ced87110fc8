"""Position embeddings: the backbone's learned one at any grid size, and the heads' sines of the image coordinates."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np


def resize_position_embedding(embedding: jax.Array, rows: int, columns: int) -> jax.Array:
    """Bicubic resampling of a learned embedding to another grid, as DINOv2 does it.

    The sampling step comes from the scale (rows + 0.1) / G, not from the sizes; only the stored grid itself is left as it is.

    Args:
        embedding: (1, 1 + G·G, C), the class token's part first.
        rows: patches down.
        columns: patches across.

    Returns:
        (1, 1 + rows · columns, C).
    """
    side = round((embedding.shape[1] - 1) ** 0.5)
    if (rows, columns) == (side, side):
        return embedding
    grid = embedding[0, 1:].reshape(side, side, -1)
    grid = jnp.einsum("hi,wj,ijc->hwc", _bicubic(side, rows), _bicubic(side, columns), grid)
    return jnp.concatenate([embedding[:, :1], grid.reshape(1, rows * columns, -1)], axis=1)


def _bicubic(source: int, target: int, offset: float = 0.1) -> np.ndarray:
    """(target, source) float32 matrix of cubic convolution (a = −0.75), half-pixel centres, clamped borders, no antialiasing."""
    a = -0.75
    centres = (np.arange(target) + 0.5) * source / (target + offset) - 0.5
    first = np.floor(centres).astype(int)
    matrix = np.zeros((target, source))
    for tap in range(-1, 3):
        x = np.abs(centres - (first + tap))
        near = ((a + 2) * x - (a + 3)) * x * x + 1
        far = ((a * x - 5 * a) * x + 8 * a) * x - 4 * a
        np.add.at(matrix, (np.arange(target), np.clip(first + tap, 0, source - 1)), np.where(x <= 1, near, far))
    return matrix.astype(np.float32)


def add_uv_embedding(x: jax.Array, aspect: float) -> jax.Array:
    """Adds a tenth of the sines and cosines of each pixel's place to a feature map.

    Coordinates span the image plane with a diagonal of 2, pixel centres at ±(1 − 1/n) of each half side; the first half of the channels
    encodes the column, the second the row.

    Args:
        x: (..., h, w, D), D a multiple of 4.
        aspect: width over height of the image, the same for maps of all sizes.
    """
    height, width, channels = x.shape[-3:]
    diagonal = (aspect**2 + 1) ** 0.5
    columns = _sines(aspect / diagonal * (2 * np.arange(width) + 1 - width) / width, channels)
    rows = _sines((2 * np.arange(height) + 1 - height) / height / diagonal, channels)
    zeros = np.zeros_like
    # Two small constants that broadcast, not one of the size of the map.
    across = np.concatenate([columns, zeros(columns)], axis=-1)[None, :]
    down = np.concatenate([zeros(rows), rows], axis=-1)[:, None]
    shape = (1,) * (x.ndim - 3)
    return x + (across.reshape(*shape, *across.shape) + jnp.asarray(down.reshape(*shape, *down.shape))).astype(x.dtype)


def _sines(positions: np.ndarray, channels: int) -> np.ndarray:
    """(len(positions), channels / 2) float32: sines, then cosines, at frequencies falling from 1 to 1/100, times 0.1."""
    quarter = channels // 4
    angles = positions[:, None] * 100.0 ** (-np.arange(quarter) / quarter)
    return (0.1 * np.concatenate([np.sin(angles), np.cos(angles)], axis=-1)).astype(np.float32)
