"""Dense layer, norm and the transformer block, shared by backbone and camera encoder."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import linen as nn
from flax.errors import ScopeParamShapeError
from jax import lax

from da3jax.models.by_views import by_views, room, room_for, views_at_a_time
from da3jax.ops.attention import attention, heads_together, partial_attention, tokens_first
from da3jax.ops.product import product
from da3jax.ops.rope import Rotation, rotate
from da3jax.parallel import Axis, all_views, ring_attention, ring_is_better

Attend = Callable[..., jax.Array]
"""`(q, k, v, mask=None)` as `da3jax.ops.attention.attention`."""

_VIEWS_FIRST = "b s n h d"

truncated_normal = nn.initializers.truncated_normal(0.02)


def parameter(module: nn.Module, name: str, init: nn.initializers.Initializer, shape: tuple[int, ...]) -> jax.Array:
    """A float32 parameter of `module`, drawn by `init` where it is not there yet.

    `module.param` is the same, but traces `init` at each call to learn the shape: a third of the time that tracing the network took.

    Raises:
        ScopeParamShapeError: the parameter that is there has another shape.
    """
    if not module.has_variable("params", name):
        return module.param(name, init, shape, jnp.float32)
    value = module.get_variable("params", name)
    if jnp.shape(value) != shape:
        raise ScopeParamShapeError(name, module.scope.path_text, jnp.shape(value), shape)
    return value


class Dense(nn.Module):
    """x (..., in) times kernel (in, out) plus bias, or some of its columns. Operands are cast to `dtype`; the result is float32."""

    features: int
    dtype: jnp.dtype = jnp.float32
    bias_init: nn.initializers.Initializer = nn.initializers.zeros

    @nn.compact
    def __call__(self, x: jax.Array, columns: slice = slice(None)) -> jax.Array:
        kernel = parameter(self, "kernel", truncated_normal, (x.shape[-1], self.features))[:, columns]
        bias = parameter(self, "bias", self.bias_init, (self.features,))[columns]
        y = product("...i,io->...o", x.astype(self.dtype), kernel.astype(self.dtype))
        return y + jnp.expand_dims(bias, range(y.ndim - 1))


def layer_norm(epsilon: float = 1e-5, name: str | None = None) -> nn.LayerNorm:
    """A float32 norm whose variance is taken in two passes, as PyTorch does."""
    return nn.LayerNorm(epsilon=epsilon, use_fast_variance=False, dtype=jnp.float32, name=name)


class LayerScale(nn.Module):
    """A factor for each channel."""

    initial: float

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        gamma = parameter(self, "gamma", nn.initializers.constant(self.initial), x.shape[-1:])
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
        return self.project(self.attend(q, k, v, mask))

    def project(self, attended: jax.Array) -> jax.Array:
        """What the queries see by head (B, N, H, D), to (B, N, C)."""
        return self.proj(rearrange(attended, "b n h d -> b n (h d)"))


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

    Views go through it in groups, if it is `grouped`: then only keys and values of a cross-view block are there for all of them; of views
    on other devices, which lie along `view_axis` of a mesh, too.
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
    grouped: bool = True
    view_axis: Axis | None = None

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
        seen, order, apart, attended = (), "", "b (s n) h d", ()
        batch, views, tokens, _ = x.shape
        group = views_at_a_time(views, batch * tokens) if self.grouped else views
        in_groups = partial(by_views, group=group, remat=self.remat)
        if self.cross_view and (self.view_axis is not None or group != views):
            # In the order that products want: a change of layout would hold all of them twice.
            if self.attend is attention and heads_together():
                order = apart = "b (s n) (h d)"
            else:
                order = "b s n h d" if tokens_first(self.dtype) else "b h s n d"
            axis = 2 if order.startswith("b h") else 1
            devices = 1 if self.view_axis is None else lax.axis_size(self.view_axis)
            gathered = 2 * devices * x.size * jnp.dtype(self.dtype).itemsize if devices > 1 else 0
            in_turn = self.attend is attention and ring_is_better(gathered, devices, tokens_first(self.dtype))
            parts, orders, axes = "kv", [order] * 2, [axis] * 2
            if in_turn:
                parts, orders, axes = "qkv", [_VIEWS_FIRST, *orders], [1, *axes]

            def make_heads(block: Block, arrays: tuple):
                heads = block.attn.heads(block.norm1(arrays[0]), rotation, parts)
                return arrays[0], *(rearrange(y, f"b (s n) h d -> {order}", n=tokens) for y, order in zip(heads, orders, strict=True))

            def empty(order: str) -> jax.Array:
                shape = jax.eval_shape(lambda x: rearrange(x, f"b s n (h d) -> {order}", h=self.num_heads), x).shape
                return room(shape, self.dtype, x)

            _, *seen = in_groups(make_heads, self, (x, *map(empty, orders)), (1, *axes))
            if in_turn:
                q, *seen = seen
                attended, seen = [self._ring(q, seen, f"{order} -> {apart}", mask)], ()
            seen = [all_views(y, self.view_axis, axis) for y in seen]

        def run(block: Block, parts: tuple):
            part, _, *attended = parts
            if attended:
                update = block.attn.project(rearrange(attended[0], "b s n h d -> b (s n) h d"))
            else:
                heads = block.attn.heads(block.norm1(part), rotation, "q" if seen else "qkv")
                # Not before the loop, where XLA could not tell that attention swaps the axes back.
                all_views = [rearrange(y, f"{order} -> {apart}", n=tokens, h=self.num_heads) for y in seen]
                update = block.attn(*heads, *all_views, mask=mask)
            after = part + block.ls1(update.reshape(part.shape))
            after = after + block.ls2(block.mlp(block.norm2(after)))
            return after, keep(part, after), *attended

        return in_groups(run, self, (x, room_for(keep, x, x), *attended))[:2]

    def _ring(self, q: jax.Array, keys_values: list[jax.Array], order: str, mask: jax.Array | None) -> jax.Array:
        """What queries (B, S, N, H, D) see of the keys of all devices, like them but float32; `order` brings those into attention's."""
        tokens = q.shape[2]
        group = views_at_a_time(q.shape[1], q.shape[0] * tokens)
        queries = rearrange(q, "b (groups s) n h d -> groups b (s n) h d", s=group)

        def attend(keys_values: list[jax.Array], mask: jax.Array | None) -> tuple[jax.Array, jax.Array]:
            def attend_group(q: jax.Array) -> tuple[jax.Array, jax.Array]:
                seen = (rearrange(y, order, n=tokens, h=self.num_heads) for y in keys_values)
                return partial_attention(q, *seen, mask)

            return lax.map(attend_group, queries)

        out = ring_attention(attend, keys_values, mask, self.view_axis)
        return rearrange(out, "groups b (s n) h d -> b (groups s) n h d", s=group)

    def queries_and_keys(self, x: jax.Array, rotation: Rotation | None = None) -> tuple[jax.Array, jax.Array]:
        """By what tokens (B, S, N, C) find each other in this block, each (B, S, N, H, D)."""
        heads = self.attn.heads(self.norm1(x), rotation, "qk")
        return tuple(y.reshape(*x.shape[:3], *y.shape[-2:]) for y in heads)
