"""Dense layer, norm and the transformer block, shared by backbone and camera encoder."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import linen as nn

from da3jax.models.by_views import by_views, room, room_for, views_at_a_time
from da3jax.ops.attention import attention, heads_together, tokens_first
from da3jax.ops.rope import Rotation, rotate
from da3jax.parallel import all_views

Attend = Callable[..., jax.Array]
"""`(q, k, v, mask=None)` as `da3jax.ops.attention.attention`."""

_weights = nn.initializers.truncated_normal(0.02)


class Dense(nn.Module):
    """x (..., in) times kernel (in, out) plus bias, or some of its columns. Operands are cast to `dtype`; the result is float32."""

    features: int
    dtype: jnp.dtype = jnp.float32
    bias_init: nn.initializers.Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array, columns: slice = slice(None)) -> jax.Array:
        kernel = self.param("kernel", _weights, (x.shape[-1], self.features))[:, columns]
        bias = self.param("bias", self.bias_init, (self.features,))[columns]
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
    """Self-attention inside each view, or over the tokens of all views together, in two steps."""

    width: int
    num_heads: int
    cross_view: bool = False
    qk_norm: bool = False
    attend: Attend = attention
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        self.qkv, self.proj = Dense(3 * self.width, self.dtype), Dense(self.width, self.dtype)
        if self.qk_norm:
            self.q_norm, self.k_norm = layer_norm(), layer_norm()

    def heads(self, x: jax.Array, rotation: Rotation | None, parts: str = "qkv") -> list[jax.Array]:
        """Queries, keys and values, or those that `parts` names, of x (B, S, N, C): (B · S, N, H, D), across views (B, S · N, H, D)."""
        first = "qkv".index(parts)
        qkv = self.qkv(x, slice(first * self.width, (first + len(parts)) * self.width))
        heads = dict(zip(parts, rearrange(qkv, "b s n (p h d) -> p b s n h d", p=len(parts), h=self.num_heads), strict=True))
        for part in parts.replace("v", ""):  # in one order, lest each process compile a program of its own
            if self.qk_norm:
                heads[part] = (self.q_norm if part == "q" else self.k_norm)(heads[part])
            if rotation is not None:
                heads[part] = rotate(heads[part], rotation)
        tokens = "b (s n) h d" if self.cross_view else "(b s) n h d"
        return [rearrange(heads[part].astype(self.dtype), f"b s n h d -> {tokens}") for part in parts]

    def __call__(self, q: jax.Array, k: jax.Array, v: jax.Array, mask: jax.Array | None = None) -> jax.Array:
        """What the queries see, their tokens as in q: (…, C). Across views keys and values may be of more views."""
        return self.proj(rearrange(self.attend(q, k, v, mask), "b n h d -> b n (h d)"))


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
    """Pre-norm transformer block on tokens (B, S, N, C); the residual stream stays float32.

    Views go through it in groups. Only keys and values of a cross-view block are there for all of them; of views on other devices, which
    lie along `view_axis` of a mesh, too.
    """

    width: int
    num_heads: int
    hidden: int
    mlp_type: str = "mlp"
    cross_view: bool = False
    qk_norm: bool = False
    attend: Attend = attention
    norm_epsilon: float = 1e-5
    layer_scale: float = 1.0
    dtype: jnp.dtype = jnp.float32
    remat: bool = False
    view_axis: str | None = None

    def setup(self):
        self.norm1, self.norm2 = layer_norm(self.norm_epsilon), layer_norm(self.norm_epsilon)
        self.attn = Attention(self.width, self.num_heads, self.cross_view, self.qk_norm, self.attend, self.dtype)
        self.ls1, self.ls2 = LayerScale(self.layer_scale), LayerScale(self.layer_scale)
        self.mlp = {"mlp": Mlp, "swiglu": SwiGLU}[self.mlp_type](self.hidden, self.width, self.dtype)

    def __call__(
        self,
        x: jax.Array,
        rotation: Rotation | None = None,
        mask: jax.Array | None = None,
        keep: Callable[[jax.Array, jax.Array], Any] = lambda before, after: None,
    ) -> tuple[jax.Array, Any]:
        """The block's output, and what `keep` makes of its input and output: arrays (B, S, …).

        `mask` says which keys count, (B, S · N) in a cross-view block.
        """
        seen, apart, order = (), "b (s n) h d", ""
        batch, views, tokens, width = x.shape
        if self.cross_view and (self.view_axis is not None or views_at_a_time(views, batch) != views):
            # In the order that products want: a change of layout would hold all of them twice.
            heads, each = self.num_heads, width // self.num_heads
            if self.attend is attention and heads_together():
                apart = "b (s n) (h d)"
                order, axis, shape = apart, 1, (batch, views * tokens, width)
            elif tokens_first(self.dtype):
                order, axis, shape = "b s n h d", 1, (batch, views, tokens, heads, each)
            else:
                order, axis, shape = "b h s n d", 2, (batch, heads, views, tokens, each)
            empty = room(shape, self.dtype, x)

            def keys_and_values(block: Block, parts: tuple):
                heads = block.attn.heads(block.norm1(parts[0]), rotation, "kv")
                return parts[0], *(rearrange(y, f"b (s n) h d -> {order}", n=tokens) for y in heads)

            _, *seen = by_views(keys_and_values, self, (x, empty, empty), (1, axis, axis), remat=self.remat)
            seen = [all_views(y, self.view_axis, axis) for y in seen]

        def run(block: Block, parts: tuple):
            part = parts[0]
            heads = block.attn.heads(block.norm1(part), rotation, "q" if seen else "qkv")
            # Not before the loop, where XLA could not tell that attention swaps the axes back.
            all_views = [rearrange(y, f"{order} -> {apart}", n=tokens, h=self.num_heads) for y in seen]
            attended = block.attn(*heads, *all_views, mask=mask)
            after = part + block.ls1(attended.reshape(part.shape))
            after = after + block.ls2(block.mlp(block.norm2(after)))
            return after, keep(part, after)

        return by_views(run, self, (x, room_for(keep, x, x)), remat=self.remat)

    def queries_and_keys(self, x: jax.Array, rotation: Rotation | None = None) -> tuple[jax.Array, jax.Array]:
        """By what tokens (B, S, N, C) find each other in this block, each (B, S, N, H, D)."""
        heads = self.attn.heads(self.norm1(x), rotation, "qk")
        return tuple(y.reshape(*x.shape[:3], *y.shape[-2:]) for y in heads)
