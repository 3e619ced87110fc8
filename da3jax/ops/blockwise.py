"""Softmax attention by blocks of queries and of keys, in pure `lax`: what it holds does not grow with the number of keys."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from einops import rearrange
from jax import lax
from jax.export import is_symbolic_dim

from da3jax.ops.product import product

QUERY_BLOCK, KEY_BLOCK = 512, 2048
"""Queries and keys whose scores are held together."""

LOWEST = -1e30
"""Stands for minus infinity, whose difference to itself is no number."""


def blockwise_attention(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """As `da3jax.ops.attention.partial_attention`, whose softmax it puts together block by block (Rabe and Staats 2021, arXiv:2112.05682).

    Keys and values may be (B, M, H · D), whose heads are then parted block by block. A symbolic number of keys is a multiple of the number
    of queries: the tokens of all views and of one.
    """
    q, *seen = (x if x.ndim == 3 else rearrange(x, "b n h d -> b h n d") for x in (q, k, v))
    q = q * jnp.asarray(1 / math.sqrt(q.shape[-1]), q.dtype)  # exact where D is a power of 4
    tokens = q.shape[2]
    blocks = -(-tokens // QUERY_BLOCK)
    size = -(-tokens // blocks)
    padded = jnp.pad(q, ((0, 0), (0, 0), (0, blocks * size - tokens), (0, 0)))
    queries = rearrange(padded, "b h (blocks n) d -> blocks b h n d", blocks=blocks)
    key_block = tokens if is_symbolic_dim(k.shape[1]) else min(KEY_BLOCK, k.shape[1])
    attend = jax.checkpoint(lambda block: _attend(block, *seen, mask, key_block))  # a gradient would keep all scores
    out, total = lax.map(attend, queries)
    return rearrange(out, "blocks b h n d -> b (blocks n) h d")[:, :tokens], rearrange(total, "blocks b h n -> b (blocks n) h")[:, :tokens]


def _attend(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None, size: int) -> tuple[jax.Array, jax.Array]:
    """A block of scaled queries (B, H, N, D) to all keys (B, H, M, D), or (B, M, H · D), `size` of them at a time."""
    heads, keys = q.shape[1], k.shape[-2]

    def step(carry: tuple[jax.Array, jax.Array, jax.Array], number: jax.Array):
        largest, total, out = carry
        # The last block begins early enough to be a whole one; what it shares with the one before does not count twice.
        start = jnp.minimum(number * size, keys - size)
        some = (lax.dynamic_slice_in_dim(x, start, size, axis=x.ndim - 2) for x in (k, v))
        some_k, some_v = (rearrange(x, "b m (h d) -> b h m d", h=heads) if x.ndim == 3 else x for x in some)
        counts = (start + jnp.arange(size) >= number * size)[None]
        if mask is not None:
            counts &= lax.dynamic_slice_in_dim(mask, start, size, axis=1)
        counts = counts[:, None, None]
        scores = jnp.where(counts, product("bhnd,bhmd->bhnm", q, some_k), LOWEST)
        new = jnp.maximum(largest, scores.max(axis=-1))
        weights = jnp.where(counts, jnp.exp(scores - new[..., None]), 0)
        shrink = jnp.exp(largest - new)
        out = out * shrink[..., None] + product("bhnm,bhmd->bhnd", weights.astype(v.dtype), some_v)
        return (new, total * shrink + weights.sum(axis=-1), out), None

    shape = q.shape[:-1]
    nothing = tuple(jnp.full(shape, value, jnp.float32) for shape, value in ((shape, LOWEST), (shape, 0), (q.shape, 0)))
    (largest, total, out), _ = lax.scan(step, nothing, jnp.arange(-(-keys // size)))
    total = jnp.maximum(total, jnp.finfo(total.dtype).tiny)  # where no key counts
    return out / total[..., None], largest + jnp.log(total)
