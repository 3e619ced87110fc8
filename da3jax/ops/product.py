"""Products whose operands may be of half precision, and whose results are float32."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax


def product(subscripts: str, a: jax.Array, b: jax.Array) -> jax.Array:
    """`jnp.einsum` of two arrays of one type, with a float32 result.

    Gradients multiply such an operand by a float32 array and at the precision of this product. Of half precision that is the platform's
    default, whatever `jax.default_matmul_precision` says: one pass of bfloat16 on a TPU, not the three that float32 gets, TF32 on a GPU.
    """
    precision = lax.Precision.DEFAULT if jnp.finfo(a.dtype).bits < 32 else None
    return jnp.einsum(subscripts, a, b, precision=precision, preferred_element_type=jnp.float32)
