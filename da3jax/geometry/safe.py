"""Arithmetic whose gradients are finite where the plain one divides by zero, and products that keep float32 on every accelerator."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

matmul = functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)
"""A matrix product that is never rounded to bfloat16 or TF32, nor is its gradient."""


def floats(x: jax.typing.ArrayLike) -> jax.Array:
    """As an array of float32, or of what has more bits."""
    x = jnp.asarray(x)
    return x.astype(jnp.promote_types(x.dtype, jnp.float32))


def matrix_of(rows: Sequence[Sequence[jax.Array]]) -> jax.Array:
    """Matrices (..., M, N) of their entries (...), row by row."""
    return jnp.stack([jnp.stack(row, axis=-1) for row in rows], axis=-2)


def safe_divide(numerator: jax.Array, denominator: jax.Array) -> jax.Array:
    """The quotient; 0 with gradients 0 where the denominator is 0."""
    divides = denominator != 0
    return jnp.where(divides, numerator / jnp.where(divides, denominator, 1), 0)


def safe_sqrt(x: jax.Array) -> jax.Array:
    """The square root; 0 with gradient 0 where x is 0 or negative."""
    positive = x > 0
    return jnp.where(positive, jnp.sqrt(jnp.where(positive, x, 1)), 0)


def safe_norm(vector: jax.Array, *, keepdims: bool = False) -> jax.Array:
    """Length over the last axis; its gradient at the zero vector is 0."""
    return safe_sqrt(jnp.sum(vector * vector, axis=-1, keepdims=keepdims))


def safe_normalize(vector: jax.Array) -> jax.Array:
    """The vectors of the last axis at length one; the zero vector stays."""
    return safe_divide(vector, safe_norm(vector, keepdims=True))
