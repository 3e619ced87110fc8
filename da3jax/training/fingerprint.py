"""A checksum of arrays that does not depend on how they are split over devices."""

from __future__ import annotations

import math
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

_UINT = {1: jnp.uint8, 2: jnp.uint16, 4: jnp.uint32}


def fingerprints(tree: Any) -> dict[str, jax.Array]:
    """(2,) uint32 for each leaf, by its path: two sums, modulo 2³², of a hash of each number's bits and its position.

    Integers add up to the same whatever the order, so an array that lies on one device and one that is split have the same fingerprint.
    No change of one number is missed, and changes of several, places among them, but by chance. Numbers have up to four bytes.

    The bits themselves, weighted by position, would not do: a sign is the bit 2³¹, and two of them add up to nothing whatever the weights.
    """
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): _fingerprint(leaf) for path, leaf in leaves}


@jax.jit  # a leaf, not the tree: there are thousands of them and few shapes to compile for
def _fingerprint(leaf: jax.Array) -> jax.Array:
    leaf = leaf.astype(jnp.uint8) if leaf.dtype == bool else leaf
    bits = lax.bitcast_convert_type(leaf, _UINT[leaf.dtype.itemsize]).astype(jnp.uint32)
    position = jnp.zeros(leaf.shape, jnp.uint32)
    for axis in range(leaf.ndim):  # rather than a flat range, which would have to be put together from all devices
        stride = jnp.uint32(math.prod(leaf.shape[axis + 1 :]) % 2**32)
        position = position + stride * lax.broadcasted_iota(jnp.uint32, leaf.shape, axis)
    place = _hashed(position)
    return jnp.stack([jnp.sum(_hashed(number), dtype=jnp.uint32) for number in (bits ^ place, bits + ~place)])


def _hashed(x: jax.Array) -> jax.Array:
    """The last step of MurmurHash3, which is one to one."""
    x = (x ^ (x >> 16)) * jnp.uint32(0x85EBCA6B)
    x = (x ^ (x >> 13)) * jnp.uint32(0xC2B2AE35)
    return x ^ (x >> 16)
