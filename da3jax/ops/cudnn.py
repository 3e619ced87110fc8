"""cuDNN's fused attention: bfloat16 on NVIDIA GPUs from Ampere on."""

from __future__ import annotations

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

from da3jax.ops.target import target_device, target_platform


def has_cudnn_attention() -> bool:
    """Whether programs of the target can call it."""
    if target_platform() != "gpu":
        return False
    capability = str(getattr(target_device(), "compute_capability", ""))
    return capability.replace(".", "").isdigit() and float(capability) >= 8  # AMD's are names


def cudnn_attention(q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None = None, *, implementation: str = "cudnn") -> jax.Array:
    """As `da3jax.ops.attention.attention`, for bfloat16; the result is rounded to bfloat16. `implementation` as in `jax.nn`."""
    lengths, attend = None, partial(_attend, implementation)
    if mask is not None:  # it takes a number of keys: those that count, in front
        order = jnp.argsort(~mask, axis=-1, stable=True)[..., None, None]
        k, v = (jnp.take_along_axis(x, order, axis=1) for x in (k, v))
        lengths = mask.sum(axis=-1, dtype=jnp.int32)
    if q.shape[1] % 2 or k.shape[1] % 2:
        attend = partial(_attend_odd, implementation)
    return attend(q, k, v, lengths).astype(jnp.float32)


def _attend(implementation: str, q: jax.Array, k: jax.Array, v: jax.Array, lengths: jax.Array | None) -> jax.Array:
    return jax.nn.dot_product_attention(q, k, v, key_value_seq_lengths=lengths, implementation=implementation)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _attend_odd(implementation: str, q: jax.Array, k: jax.Array, v: jax.Array, lengths: jax.Array | None) -> jax.Array:
    return _attend(implementation, q, k, v, lengths)


def _forward(implementation: str, q: jax.Array, k: jax.Array, v: jax.Array, lengths: jax.Array | None) -> tuple[jax.Array, Any]:
    """For a gradient cuDNN wants even numbers of tokens: here is one more of each that is odd, and no one looks at it."""
    lengths = jnp.full(len(k), k.shape[1], jnp.int32) if lengths is None else lengths

    def padded(q: jax.Array, k: jax.Array, v: jax.Array) -> jax.Array:
        even = (jnp.pad(x, ((0, 0), (0, x.shape[1] % 2), (0, 0), (0, 0))) for x in (q, k, v))
        return _attend(implementation, *even, lengths)[:, : q.shape[1]]

    return jax.vjp(padded, q, k, v)


def _backward(implementation: str, pull: Any, gradient: jax.Array) -> tuple:
    return *pull(gradient), None


_attend_odd.defvjp(_forward, _backward)
