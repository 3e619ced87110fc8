"""Views in groups: what is as wide as a hidden layer, or as fine as an image, is held for a few of them at a time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.export import is_symbolic_dim

from da3jax.ops.target import target_platform
from da3jax.parallel import has_parts, put_together

ON_CPU = 1024
"""Tokens that a CPU takes at a time, of a view of 504 × 378 or of many small ones: their maps then stay near the cache."""
ON_ACCELERATORS = 7168
"""Tokens that one takes at a time, of 8 views of 504 × 336: their hidden layers are small beside the rest."""


def views_at_a_time(views: int, tokens: int) -> int:
    """How many of `views`, each with this many tokens, go together: a number that divides them; 1 where something is symbolic."""
    if is_symbolic_dim(views) or is_symbolic_dim(tokens):
        return 1
    limit = max(1, (ON_CPU if target_platform() == "cpu" else ON_ACCELERATORS) // tokens)
    return max(group for group in range(1, min(limit, views) + 1) if views % group == 0)


def by_views(function: Callable[[Any, Any], Any], module: nn.Module, arrays: Any, axes: Any = 1, *, group: int, remat: bool = False) -> Any:
    """`function(module, arrays)`, `group` views at a time.

    `arrays` (a tuple) are overwritten, group by group, with what the function gives for them; views lie along `axes`, each with all that
    it has there; those of the first array, (B, S, …), along axis 1. With `remat` a gradient computes a group's inner values again instead
    of keeping them.
    """
    views = arrays[0].shape[1]
    if module.is_initializing() or (group == views and not remat):
        return function(module, arrays)
    axes = jax.tree.map(lambda _: axes, arrays) if isinstance(axes, int) else axes

    run = as_function(module, function)
    run = jax.checkpoint(run) if remat else run
    if group == views:
        return run(arrays)

    def step(written: Any, start: jax.Array):
        def place(x: jax.Array, axis: int) -> tuple[jax.Array, int]:
            each = x.shape[axis] // views
            return start * each, group * each

        # Of the views of a group both are the same; a gradient that computes all again can do without what was written before.
        source = arrays if remat else written
        parts = jax.tree.map(lambda x, axis: lax.dynamic_slice_in_dim(x, *place(x, axis), axis), source, axes)
        new = run(parts)

        # What comes back as it was is not written, lest XLA make a copy for it.
        def write(x: jax.Array, part: jax.Array, new: jax.Array, axis: int) -> jax.Array:
            return x if new is part else lax.dynamic_update_slice_in_dim(x, new, place(x, axis)[0], axis)

        return jax.tree.map(write, written, parts, new, axes), None

    return lax.scan(step, arrays, jnp.arange(0, views, group))[0]


def room(shape: Sequence[int], dtype: jnp.dtype, after: jax.Array) -> jax.Array:
    """An array to be overwritten, which XLA cannot make before it has `after`; zeros for all blocks it would make at the start."""
    first = lax.stop_gradient(after[(0,) * after.ndim])
    return jnp.full(shape, (0 * first).astype(dtype))


def room_for(function: Callable[..., Any], *arguments: jax.Array) -> Any:
    """Room for what a function returns."""
    return jax.tree.map(lambda leaf: room(leaf.shape, leaf.dtype, arguments[0]), jax.eval_shape(function, *arguments))


def as_function(module: nn.Module, method: str | Callable[..., Any] = "__call__") -> Callable[..., Any]:
    """A method, or a function of the module, as a pure function, which may be called inside loops; while parameters are made, as it is.

    It is traced once, where `nn.scan` traces twice.
    """
    if module.is_initializing():
        return getattr(module, method) if isinstance(method, str) else partial(method, module)
    unbound, variables = module.unbind()
    return partial(unbound.apply, variables, method=method)


def with_whole_params(function: Callable[[Any, jax.Array], Any], module: nn.Module, x: jax.Array, *, remat: bool) -> Any:
    """`function(module, x)`; where devices split the module's parameters, with those put together, once `x` is there.

    With `remat` a gradient puts them together again, where it would keep those of all modules until their turn comes.
    """
    if module.is_initializing() or not has_parts(module.variables):
        return function(module, x)
    unbound, variables = module.unbind()

    def run(variables: Any, x: jax.Array) -> Any:
        return function(unbound.bind(put_together(variables, x)), x)

    return (jax.checkpoint(run) if remat else run)(variables, x)
