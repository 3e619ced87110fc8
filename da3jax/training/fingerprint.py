"""A checksum of arrays that does not depend on how they are split over devices."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

_UINT = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}


@jax.jit
def fingerprints(tree: Any) -> dict[str, jax.Array]:
    """(2,) uint32 for each leaf, by its path: sums, modulo 2³², of its bits, each weighted by its position.

    Integers add up to the same whatever the order, so an array that lies on one device and one that is split have the same fingerprint.
    Weights are odd: no change of one number is missed, and two that have changed places are found but by chance. Numbers have up to
    four bytes.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): _fingerprint(leaf) for path, leaf in leaves}


def _fingerprint(leaf: jax.Array) -> jax.Array:
    leaf = leaf.astype(jnp.uint8) if leaf.dtype == bool else leaf
    bits = lax.bitcast_convert_type(leaf, _UINT[leaf.dtype.itemsize]).astype(jnp.uint32)
    position = jnp.zeros(leaf.shape, jnp.uint32)
    for axis in range(leaf.ndim):  # rather than a flat range, which would have to be put together from all devices
        stride = jnp.uint32(math.prod(leaf.shape[axis + 1 :]) % 2**32)
        position = position + stride * lax.broadcasted_iota(jnp.uint32, leaf.shape, axis)
    weights = (2 * position + 1, position * jnp.uint32(2654435761) | 1)  # the latter by Knuth's multiplicative hash
    return jnp.stack([jnp.sum(bits * weight, dtype=jnp.uint32) for weight in weights])
