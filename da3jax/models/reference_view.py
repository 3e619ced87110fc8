"""Which view's frame is the world's: a choice from the class tokens, for three views and more.

The official network moves that view to the front and restores the order at the taps. All that depends on the order is which view gets the
reference's camera token, for attention does not see it; so here nothing moves, and tokens and features are always in the caller's order.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp

from da3jax.config import REF_VIEW_STRATEGIES, one_of

MIN_VIEWS = 3
"""With fewer views the first is the reference."""


def select_reference_view(class_tokens: jax.Array, strategy: str) -> jax.Array:
    """Index (B,) of the reference view from class tokens (B, S, C).

    `first` and `middle` (S // 2) go by place. `saddle_balanced` takes the view nearest to the middle in similarity to the others, norm and
    variance of its token; `saddle_sim_range` the one whose similarities spread widest.

    Raises:
        ValueError: an unknown strategy.
    """
    one_of("ref_view_strategy", strategy, REF_VIEW_STRATEGIES)
    batch, views, _ = class_tokens.shape
    if views < MIN_VIEWS or strategy == "first":
        return jnp.zeros(batch, jnp.int32)
    if strategy == "middle":
        return jnp.full(batch, views // 2, jnp.int32)
    norm = jnp.linalg.norm(class_tokens, axis=-1)
    unit = class_tokens / norm[..., None]
    similarity = jnp.einsum("bsc,btc->bst", unit, unit) - jnp.eye(views)[None]
    if strategy == "saddle_sim_range":
        return jnp.argmax(similarity.max(axis=-1) - similarity.min(axis=-1), axis=-1)
    metrics = (similarity.sum(axis=-1) / (views - 1), norm, unit.var(axis=-1, ddof=1))
    return jnp.argmin(sum(jnp.abs(_to_unit_range(metric) - 0.5) for metric in metrics), axis=-1)


def _to_unit_range(metric: jax.Array) -> jax.Array:
    low, high = metric.min(axis=-1, keepdims=True), metric.max(axis=-1, keepdims=True)
    # Variances differ by 1e-7 to 1e-5, so that this epsilon takes part in the choice.
    return (metric - low) / (high - low + 1e-8)
