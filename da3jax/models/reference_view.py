"""Which view's frame is the world's: a choice from the class tokens, for three views and more.

The official network moves that view to the front and restores the order at the taps. All that depends on the order is which view gets the
reference's camera token, for attention does not see it; so here nothing moves, and tokens and features are always in the caller's order.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax.export import is_symbolic_dim

from da3jax.config import REF_VIEW_STRATEGIES
from da3jax.schema import one_of

MIN_VIEWS = 3
"""With fewer views the first is the reference."""


def select_reference_view(class_tokens: jax.Array, strategy: str, view_mask: jax.Array | None = None) -> jax.Array:
    """Index (B,) of the reference view from class tokens (B, S, C).

    `first` and `middle` (S // 2) go by place. `saddle_balanced` takes the view nearest to the middle in similarity to the others, norm and
    variance of its token; `saddle_sim_range` the one whose similarities spread widest. Views that `view_mask` (B, S) has False do not
    count; at least one does.

    Raises:
        ValueError: an unknown strategy.
    """
    one_of("ref_view_strategy", strategy, REF_VIEW_STRATEGIES)
    batch, views, _ = class_tokens.shape
    # Without a mask this is a constant to the compiler.
    mask = jnp.ones((batch, views), bool) if view_mask is None else view_mask
    order, count = mask.cumsum(axis=-1), mask.sum(axis=-1, keepdims=True)
    first = (order == 1).argmax(axis=-1)
    if strategy == "first" or (not is_symbolic_dim(views) and views < MIN_VIEWS):
        return first
    chosen = (order > count // 2).argmax(axis=-1) if strategy == "middle" else _saddle(class_tokens, strategy, mask, count)
    return jnp.where(count[:, 0] < MIN_VIEWS, first, chosen)


def _saddle(class_tokens: jax.Array, strategy: str, mask: jax.Array, count: jax.Array) -> jax.Array:
    """The view that `strategy` takes by its token."""
    norm = jnp.linalg.norm(class_tokens, axis=-1)
    unit = class_tokens / norm[..., None]
    similarity = jnp.einsum("bsc,btc->bst", unit, unit)
    # Symmetric and 0 for a view and itself, exactly: two that are the likest to each other then tie, whatever a product of this size
    # rounds to, and the first is chosen.
    similarity = jnp.where(jnp.eye(mask.shape[-1], dtype=bool)[None], 0, similarity + jnp.swapaxes(similarity, -1, -2)) / 2
    seen = mask[:, None]
    if strategy == "saddle_sim_range":
        spread = similarity.max(axis=-1, initial=-jnp.inf, where=seen) - similarity.min(axis=-1, initial=jnp.inf, where=seen)
        return jnp.argmax(jnp.where(mask, spread, -jnp.inf), axis=-1)
    mean = similarity.sum(axis=-1, where=seen) / jnp.maximum(count - 1, 1)
    metrics = (mean, norm, unit.var(axis=-1, ddof=1))
    distance = sum(jnp.abs(_to_unit_range(metric, mask) - 0.5) for metric in metrics)
    return jnp.argmin(jnp.where(mask, distance, jnp.inf), axis=-1)


def _to_unit_range(metric: jax.Array, mask: jax.Array) -> jax.Array:
    low = metric.min(axis=-1, keepdims=True, initial=jnp.inf, where=mask)
    high = metric.max(axis=-1, keepdims=True, initial=-jnp.inf, where=mask)
    # Variances differ by 1e-7 to 1e-5, so that this epsilon takes part in the choice.
    return (metric - low) / (high - low + 1e-8)
