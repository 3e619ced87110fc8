"""Dense layer, norm and the transformer block, shared by backbone and camera encoder."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import linen as nn

from da3jax.ops.attention import attention
from da3jax.ops.rope import Rotation, rotate

Attend = Callable[..., jax.Array]
"""`(q, k, v, mask=None)` as `da3jax.ops.attention.attention`."""

_weights = nn.initializers.truncated_normal(0.02)


class Dense(nn.Module):
    """x (..., in) times kernel (in, out) plus bias. Operands are cast to `dtype`; the result is float32."""

    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = self.param("kernel", _weights, (x.shape[-1], self.features))
        bias = self.param("bias", nn.initializers.zeros, (self.features,))
        product = jnp.einsum("...i,io->...o", x.astype(self.dtype), kernel.astype(self.dtype), preferred_element_type=jnp.float32)
        return product + jnp.expand_dims(bias, range(product.ndim - 1))


def layer_norm(epsilon: float = 1e-5, name: str | None = None) -> nn.LayerNorm:
    """A float32 norm whose variance is taken in two passes, as PyTorch does."""
    return nn.LayerNorm(epsilon=epsilon, use_fast_variance=False, dtype=jnp.float32, name=name)


class LayerScale(nn.Module):
    """A factor for each channel."""

    initial: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        gamma = self.param("gamma", nn.initializers.constant(self.initial), x.shape[-1:])
        return x * jnp.expand_dims(gamma, range(x.ndim - 1))


class Attention(nn.Module):
    """Self-attention inside each view, or over the tokens of all views together."""

    num_heads: int
    cross_view: bool = False
    qk_norm: bool = False
    attend: Attend = attention
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, rotation: Rotation | None = None, mask: jax.Array | None = None) -> jax.Array:
        views, width = x.shape[1], x.shape[-1]
        qkv = Dense(3 * width, self.dtype, name="qkv")(x)
        q, k, v = rearrange(qkv, "b s n (three h d) -> three b s n h d", three=3, h=self.num_heads)
        if self.qk_norm:
            q, k = layer_norm(name="q_norm")(q), layer_norm(name="k_norm")(k)
        if rotation is not None:
            q, k = rotate(q, rotation), rotate(k, rotation)
        tokens = "b (s n) h d" if self.cross_view else "(b s) n h d"
        q, k, v = (rearrange(t.astype(self.dtype), f"b s n h d -> {tokens}") for t in (q, k, v))
        out = rearrange(self.attend(q, k, v, mask), f"{tokens} -> b s n (h d)", s=views)
        return Dense(width, self.dtype, name="proj")(out)


class Mlp(nn.Module):
    """Two layers with an exact (erf) GELU between them."""

    hidden: int
    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = nn.gelu(Dense(self.hidden, self.dtype, name="fc1")(x), approximate=False)
        return Dense(self.features, self.dtype, name="fc2")(x)


class SwiGLU(nn.Module):
    """silu(first half) · second half of one layer, then another."""

    hidden: int
    features: int
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        gate, value = jnp.split(Dense(2 * self.hidden, self.dtype, name="w12")(x), 2, axis=-1)
        return Dense(self.features, self.dtype, name="w3")(nn.silu(gate) * value)


class Block(nn.Module):
    """Pre-norm transformer block on tokens (B, S, N, C); the residual stream stays float32. `mask` says which keys count."""

    num_heads: int
    hidden: int
    mlp: str = "mlp"
    cross_view: bool = False
    qk_norm: bool = False
    attend: Attend = attention
    norm_epsilon: float = 1e-5
    layer_scale: float = 1.0
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, rotation: Rotation | None = None, mask: jax.Array | None = None) -> jax.Array:
        mlp = {"mlp": Mlp, "swiglu": SwiGLU}[self.mlp]
        attended = Attention(self.num_heads, self.cross_view, self.qk_norm, self.attend, self.dtype, name="attn")(
            layer_norm(self.norm_epsilon, name="norm1")(x), rotation, mask
        )
        x = x + LayerScale(self.layer_scale, name="ls1")(attended)
        fed = mlp(self.hidden, x.shape[-1], self.dtype, name="mlp")(layer_norm(self.norm_epsilon, name="norm2")(x))
        return x + LayerScale(self.layer_scale, name="ls2")(fed)
