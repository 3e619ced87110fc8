"""Real spherical harmonics up to degree 2, in the order and with the signs of 3D Gaussian splatting (Kerbl et al. 2023).

A function of a unit direction d = (x, y, z) is a sum of nine terms: a constant, three that are linear in d, five that are quadratic.
Splatting takes d from the camera's centre to the Gaussian's, and adds 0.5 to the sum to get a colour.
"""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np

from da3jax.geometry.safe import matmul

TERMS = 9
"""(degree + 1)² of degree 2."""

CONSTANT = math.sqrt(1 / (4 * math.pi))
"""The first term. A colour c without dependence on direction has the first coefficient (c − 0.5) / CONSTANT."""

_LINEAR = np.array([[0.0, -1, 0], [0, 0, 1], [-1, 0, 0]])
"""(3, 3) from d to −y, z, −x: the linear terms, but for the factor √(3 / 4π)."""

_QUADRATIC = np.array(
    [
        [[0, 1, 0], [1, 0, 0], [0, 0, 0]],  # xy
        [[0, 0, 0], [0, 0, -1], [0, -1, 0]],  # −yz
        np.diag([-1, -1, 2]) / math.sqrt(3),  # 2z² − x² − y²
        [[0, 0, -1], [0, 0, 0], [-1, 0, 0]],  # −xz
        np.diag([1, -1, 0]),  # x² − y²
    ]
)
"""(5, 3, 3) symmetric, without trace, orthogonal to each other and of norm √2: dᵀ M d are the quadratic terms, but for √(15 / 16π)."""


def harmonic_terms(directions: jax.Array) -> jax.Array:
    """The nine terms (..., 9) of unit directions (..., 3)."""
    constant = jnp.full_like(directions[..., :1], CONSTANT)
    linear = math.sqrt(3 / (4 * math.pi)) * matmul(directions, _LINEAR.T.astype(directions.dtype))
    products = (directions[..., :, None] * directions[..., None, :]).reshape(*directions.shape[:-1], 9)
    quadratic = math.sqrt(15 / (16 * math.pi)) * matmul(products, _QUADRATIC.reshape(5, 9).T.astype(directions.dtype))
    return jnp.concatenate([constant, linear, quadratic], axis=-1)


def rotate_harmonics(harmonics: jax.Array, rotation: jax.Array) -> jax.Array:
    """Coefficients (*L, *any, 9) of the same functions in another frame, to which rotations (*L, 3, 3) turn directions.

    The new function has at R d the value that the old one has at d: with R from camera to world, a colour that a camera sees stays what it
    sees. Each degree turns within itself: linear terms as d does, quadratic ones as dᵀ A d with A → R A Rᵀ.
    """
    dtype = harmonics.dtype
    first, second = _LINEAR.astype(dtype), _QUADRATIC.astype(dtype)
    transposed = jnp.swapaxes(rotation, -1, -2)[..., None, :, :]
    linear = matmul(matmul(first, rotation), first.T)
    turned = matmul(matmul(rotation[..., None, :, :], second), transposed)  # (*L, 5, 3, 3)
    quadratic = matmul(second.reshape(5, 9), jnp.swapaxes(turned.reshape(*turned.shape[:-2], 9), -1, -2)) / 2
    lead = rotation.ndim - 2
    flat = harmonics.reshape(*harmonics.shape[:lead], -1, TERMS)
    parts = [flat[..., :1], *(matmul(x, jnp.swapaxes(m, -1, -2)) for x, m in ((flat[..., 1:4], linear), (flat[..., 4:], quadratic)))]
    return jnp.concatenate(parts, axis=-1).reshape(harmonics.shape)
