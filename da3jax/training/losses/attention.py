"""Where patches look in a cross-view block: by itself, attention does not find those that show the same when their features do."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from da3jax.training.losses.correspondence import find_patches
from da3jax.training.losses.masked import masked_mean
from da3jax.training.losses.normalization import NormalizedTargets


def attention_loss(queries: jax.Array, keys: jax.Array, truth: NormalizedTargets, *, heads: int = 1) -> jax.Array:
    """Mean () cross-entropy of attention to the patches of other views that show the middle of one's own patch.

    Queries and keys (B, S, N, H, D) are those of a block across views, the special token first. The first `heads` of the H heads are
    taught; the others look where they like. Attention is over all tokens of all views, as in the block. What is to be found is as in
    `correspondence_loss`, in equal parts in each view that sees it; patches that no other view sees do not count. Not of the paper.

    Raises:
        ValueError: queries are not those of the truth's patches, or have fewer heads.
    """
    patches, seen = find_patches(truth)
    views, count = seen.shape[1], seen.shape[3] * seen.shape[4]
    if queries.shape[1:3] != (views, 1 + count) or queries.shape[3] < heads:
        raise ValueError(
            f"queries have shape {queries.shape}; for these targets it is (scenes, {views}, {1 + count}, {heads} or more heads, channels)"
        )
    q, k = queries[:, :, 1:, :heads], keys[..., :heads, :]
    wide = jnp.promote_types(q.dtype, jnp.float32)  # of bfloat16, sums over all tokens would keep two digits
    logits = jnp.einsum("bsnhd,btmhd->bsnhtm", q, k, preferred_element_type=wide) / jnp.sqrt(q.shape[-1])
    spread = jax.nn.logsumexp(logits, axis=(-2, -1))
    seen_by = seen.reshape(*seen.shape[:3], count).sum(axis=2)  # (B, S, N)
    right = patches.reshape(*seen.shape[:3], count, count) / jnp.maximum(seen_by, 1)[:, :, None, :, None]
    looked = jnp.einsum("bstnm,bsnhtm->bsnh", right, logits[..., 1:])
    return masked_mean(jnp.mean(spread - looked, axis=-1), seen_by > 0)
