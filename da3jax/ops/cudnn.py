"""cuDNN's fused attention: bfloat16 on NVIDIA GPUs from Ampere on."""

from __future__ import annotations

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
    lengths = None
    if mask is not None:  # it takes a number of keys: those that count, in front
        order = jnp.argsort(~mask, axis=-1, stable=True)[..., None, None]
        k, v = (jnp.take_along_axis(x, order, axis=1) for x in (k, v))
        lengths = mask.sum(axis=-1, dtype=jnp.int32)
    out = jax.nn.dot_product_attention(q, k, v, key_value_seq_lengths=lengths, implementation=implementation)
    return out.astype(jnp.float32)
