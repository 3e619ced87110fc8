"""Softmax attention with memory linear in the number of tokens, its gradient's too, in pure `lax`."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from einops import rearrange
from jax import lax
from jax.export import is_symbolic_dim

from da3jax.ops.blockwise import KEY_BLOCK, LOWEST, blockwise_attention
from da3jax.ops.cudnn import cudnn_attention, has_cudnn_attention
from da3jax.ops.product import product
from da3jax.ops.target import target_platform

QUERY_BLOCK = 1024
"""Queries that see all keys at once: on a CPU those of a view of 504 × 378 in one block take up to 9 % less time than in two."""

CUDNN_KEYS = 512
"""Keys from which on cuDNN computes attention, in tiles of 128; the scores of fewer are little to hold."""


def attention(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None = None) -> jax.Array:
    """Scaled dot-product attention; softmax and sums are float32 whatever the operands are.

    Args:
        q: (B, N, H, D) queries of H heads.
        k: (B, M, H, D) keys, of q's dtype; or (B, M, H · D), as `heads_together` wants those that are many.
        v: values, likewise.
        mask: (B, M) bool, which keys count; None for all.

    Returns:
        (B, N, H, D) float32.
    """
    if mask is not None:
        mask = jnp.broadcast_to(mask, (q.shape[0], k.shape[1]))
    if k.ndim == 3:
        return blockwise_attention(q, k, v, mask)[0]
    # On a CPU a head at a time stays in the cache; accelerators want all heads in one product.
    forms = {"cpu": lambda *x: _head_by_head(*x)[0], "default": lambda *x: _all_heads(*x)[0]}
    if tokens_first(q.dtype) and not any(map(is_symbolic_dim, (*q.shape, *k.shape))) and k.shape[1] >= CUDNN_KEYS:
        forms["cuda"] = cudnn_attention  # not for all platforms: a machine with a GPU runs programs on its CPU, too
    return lax.platform_dependent(q, k, v, mask, **forms)


def partial_attention(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None = None) -> tuple[jax.Array, jax.Array]:
    """The same for some of the keys: also (B, N, H), the logarithm of the sum of what the softmax divides by.

    What queries see of several sets of keys is the mean of what they see of each, weighted by that sum. Of a set without a key that counts
    it is near 0, and what they see something finite. Shapes are no symbols.
    """
    if mask is not None:
        mask = jnp.broadcast_to(mask, (q.shape[0], k.shape[1]))
    if k.ndim == 3:
        return blockwise_attention(q, k, v, mask)
    return lax.platform_dependent(q, k, v, mask, cpu=_head_by_head, default=_all_heads)


def tokens_first(dtype: jnp.dtype) -> bool:
    """Whether keys and values that many calls share are best held as (B, tokens, H, D), and not heads first."""
    return dtype == jnp.bfloat16 and has_cudnn_attention()


def heads_together() -> bool:
    """Whether keys and values that many calls share are best held as (B, tokens, H · D): a TPU pads the last axis to 128 numbers."""
    return target_platform() == "tpu"


def _head_by_head(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    heads = q.shape[2]
    q, k, v = (rearrange(x, "b n h d -> (b h) n d") for x in (q, k, v))
    mask = None if mask is None else jnp.repeat(mask, heads, axis=0)
    # The axis of one head is made inside: before the loop XLA would copy all keys and values for it.
    out, total = lax.map(lambda args: jax.tree.map(lambda y: y[0], _attend(*(x[None] for x in args[:3]), args[3])), (q, k, v, mask))
    return rearrange(out, "(b h) n d -> b n h d", h=heads), rearrange(total, "(b h) n -> b n h", h=heads)


def _all_heads(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    tokens, keys = q.shape[1], k.shape[1]
    # The scores of all heads and keys would be most of the memory.
    if not is_symbolic_dim(tokens) and (is_symbolic_dim(keys) or keys > KEY_BLOCK):
        return blockwise_attention(q, k, v, mask)
    q, k, v = (rearrange(x, "b n h d -> b h n d") for x in (q, k, v))
    out, total = jax.vmap(_attend)(q, k, v, mask)
    return rearrange(out, "b h n d -> b n h d"), rearrange(total, "b h n -> b n h")


def _attend(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None) -> tuple[jax.Array, jax.Array]:
    """Attention of (H, N, D) queries to (H, M, D) keys, by blocks of queries; `mask` is (M,). And log-sums (H, N)."""
    q = q * jnp.asarray(1 / math.sqrt(q.shape[-1]), q.dtype)  # rather than the scores, which are more; exact where D is a power of 4
    hidden = None if mask is None else jnp.where(mask, 0.0, LOWEST)[None, None]  # a sum is less work than a choice

    def block(queries: jax.Array) -> tuple[jax.Array, jax.Array]:
        scores = product("hnd,hmd->hnm", queries, k)
        if hidden is not None:
            scores = scores + hidden
        largest = lax.stop_gradient(scores.max(axis=-1, keepdims=True))
        weights = jnp.exp(scores - largest)
        total = weights.sum(axis=-1, keepdims=True)
        # Divided after the product, for D is less than M.
        return product("hnm,hmd->hnd", weights.astype(v.dtype), v) / total, (largest + jnp.log(total))[..., 0]

    # A gradient computes again what is as large as queries times keys, where these are many.
    block = block if is_symbolic_dim(k.shape[1]) or k.shape[1] <= KEY_BLOCK else jax.checkpoint(block)
    tokens = q.shape[1]
    blocks = 1 if is_symbolic_dim(tokens) else -(-tokens // QUERY_BLOCK)  # symbolic: cameras, which are few
    size = -(-tokens // blocks)
    padded = jnp.pad(q, ((0, 0), (0, blocks * size - tokens), (0, 0)))
    out, total = lax.map(block, rearrange(padded, "h (blocks n) d -> blocks h n d", blocks=blocks))
    return rearrange(out, "blocks h n d -> h (blocks n) d")[:, :tokens], rearrange(total, "blocks h n -> h (blocks n)")[:, :tokens]
