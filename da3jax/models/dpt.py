"""DPT: four taps to one feature pyramid to dense outputs. The parts, and the head of the single-view networks (depth and sky)."""

from __future__ import annotations

from collections.abc import Callable, Container
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from einops import rearrange
from flax import linen as nn
from jax import lax

from da3jax.config import PATCH_SIZE, DPTConfig
from da3jax.models.by_views import as_function, views_at_a_time
from da3jax.models.layers import Dense, layer_norm, parameter
from da3jax.ops.conv import conv3x3
from da3jax.ops.position_embedding import add_uv_embedding
from da3jax.ops.resize import resize_align_corners

HIDDEN = 32
"""Channels before the last 1 × 1 convolution, in every variant."""

FINER_LEVELS = 2
"""Levels finer than the patch grid. The others are smaller than the taps that they are made of."""


class Conv3x3(nn.Module):
    """A 3 × 3 convolution that keeps the size. Kernel (3, 3, in, out)."""

    features: int
    use_bias: bool = True

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        kernel = parameter(self, "kernel", nn.initializers.lecun_normal(), (3, 3, x.shape[-1], self.features))
        y = conv3x3(x, kernel)
        return y + parameter(self, "bias", nn.initializers.zeros, (self.features,))[None, None, None] if self.use_bias else y


class TransposedConv(nn.Module):
    """Transposed convolution whose stride is its kernel: each pixel becomes a factor × factor tile. Kernel (factor, factor, in, out)."""

    factor: int

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        width = x.shape[-1]
        kernel = parameter(self, "kernel", nn.initializers.lecun_normal(), (self.factor, self.factor, width, width))
        bias = parameter(self, "bias", nn.initializers.zeros, (width,))
        tiles = jnp.einsum("vhwi,pqio->vhpwqo", x, kernel)
        return rearrange(tiles, "v h p w q o -> v (h p) (w q) o") + bias[None, None, None]


class ResidualUnit(nn.Module):
    """Pre-activation: two times ReLU and 3 × 3, plus the input."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        features = x.shape[-1]
        out = Conv3x3(features, name="conv_1")(nn.relu(x))
        return x + Conv3x3(features, name="conv_2")(nn.relu(out))


class Fusion(nn.Module):
    """Adds a finer level to what came from above and brings the sum to the size of the next one."""

    @nn.compact
    def __call__(self, top: jax.Array | None, lateral: jax.Array, size: tuple[int, int]) -> jax.Array:
        y = lateral if top is None else top + ResidualUnit(name="unit_1")(lateral)
        y = ResidualUnit(name="unit_2")(y)
        # The 1 × 1 convolution commutes with the resize; before it, it sees a quarter of the pixels.
        return resize_align_corners(Dense(y.shape[-1], name="out")(y), *size)


class Output(nn.Module):
    """3 × 3 to 32 channels, optionally a norm, ReLU, 1 × 1."""

    features: int

    @nn.compact
    def __call__(self, x: jax.Array, norm: Callable[[jax.Array], jax.Array] = lambda x: x) -> jax.Array:
        return Dense(self.features, name="conv_2")(nn.relu(norm(Conv3x3(HIDDEN, name="conv_1")(x))))


class Pyramid(nn.Module):
    """What the heads share: taps to levels at 4, 2, 1 and ½ times the patch grid, and their fusion from coarse to fine.

    A head inherits it, calls `project` as each tap arrives, and gives what one group of views comes to in `decode`.
    """

    features: int
    channels: tuple[int, int, int, int]
    uv_embedding: bool = True
    tap_norm: bool = False
    remat: bool = False
    grouped: bool = True

    def setup(self):
        self.projections = [Dense(width, name=f"project_{k}") for k, width in enumerate(self.channels, 1)]
        self.resizers = [
            TransposedConv(4, name="resize_1"),
            TransposedConv(2, name="resize_2"),
            lambda x: x,
            nn.Conv(self.channels[3], (3, 3), strides=2, padding=1, name="resize_4"),
        ]
        self.adapters = [Conv3x3(self.features, use_bias=False, name=f"adapter_{k}") for k in range(1, 5)]
        self.fusions = [Fusion(name=f"fusion_{k}") for k in range(1, 5)]
        if self.tap_norm:
            self.norm = layer_norm()

    def project(self, index: int, tokens: jax.Array, image_size: tuple[int, int]) -> jax.Array:
        """What the head keeps of a tap (B, S, N − 1, C or 2C): a map (B, S, h, w, channels), or its level where that is the smaller one."""
        rows = image_size[0] // PATCH_SIZE
        x = self.projections[index](self.norm(tokens) if self.tap_norm else tokens)
        x = rearrange(x, "b s (h w) c -> b s h w c", h=rows)
        if index < FINER_LEVELS:
            return x
        level = self.level(index, x.reshape(-1, *x.shape[2:]), image_size)
        return level.reshape(*x.shape[:2], *level.shape[1:])

    def level(self, index: int, x: jax.Array, image_size: tuple[int, int]) -> jax.Array:
        """A projected tap (V, h, w, channels) to a map (V, ·, ·, features)."""
        x = add_uv_embedding(x, image_size[1] / image_size[0]) if self.uv_embedding else x
        return self.adapters[index](self.resizers[index](x))

    def levels(self, kept: list[jax.Array], image_size: tuple[int, int]) -> list[jax.Array]:
        """What `project` gave, by views (V, ·, ·, ·), to four maps (V, ·, ·, features), finest first."""
        return [self.level(k, x, image_size) if k < FINER_LEVELS else x for k, x in enumerate(kept)]

    def fuse(self, levels: list[jax.Array], fusions: list[Fusion]) -> list[jax.Array]:
        """What comes out of each fusion block, coarsest first; the last is at 8 × the patch grid."""
        finest = levels[0].shape[1:3]
        sizes = [(2 * finest[0], 2 * finest[1]), *(level.shape[1:3] for level in levels[:3])]
        outputs, top = [], None
        for level, fusion, size in reversed(list(zip(levels, fusions, sizes, strict=True))):
            top = fusion(top, level, size)
            outputs.append(top)
        return outputs

    def upsample(self, x: jax.Array, image_size: tuple[int, int], plus: jax.Array | float = 0.0) -> jax.Array:
        """A map to the size of the image, plus image features, with its UV embedding."""
        x = resize_align_corners(x, *image_size) + plus
        return add_uv_embedding(x, image_size[1] / image_size[0]) if self.uv_embedding else x

    def __call__(
        self, projected: list[jax.Array], images: jax.Array, *, on_host: Container[str] = (), **options: Any
    ) -> dict[str, jax.Array]:
        """All views, a group at a time: what `project` gave of each tap and images (B, S, H, W, 3) to outputs (B, S, …).

        Outputs named in `on_host` go to the host's memory group by group, and are never all on the device.
        """
        batch, views = images.shape[:2]
        inputs = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (projected, images))
        if self.is_initializing():
            out = self.decode(*inputs, **options)
        else:
            tokens = images.shape[2] // PATCH_SIZE * (images.shape[3] // PATCH_SIZE)
            group = views_at_a_time(batch * views, tokens) if self.grouped else batch * views
            decode = partial(as_function(self, "decode"), **options)

            def decode_group(group: tuple) -> dict[str, jax.Array]:
                host = jax.memory.Space.Host
                return {name: jax.device_put(x, host) if name in on_host else x for name, x in decode(*group).items()}

            decode_group = jax.checkpoint(decode_group) if self.remat else decode_group
            grouped = jax.tree.map(lambda x: x.reshape(-1, group, *x.shape[1:]), inputs)
            out = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), lax.map(decode_group, grouped))
        return jax.tree.map(lambda x: x.reshape(batch, views, *x.shape[1:]), out)


class DPT(Pyramid):
    """Depth, and sky where the head has it."""

    uv_embedding: bool = False
    has_sky: bool = True

    @staticmethod
    def build(config: DPTConfig, **options: bool) -> DPT:
        return DPT(config.features, config.channels, has_sky=config.sky, **options)

    def setup(self):
        super().setup()
        self.neck = Conv3x3(self.features // 2)
        self.output = Output(1)
        if self.has_sky:
            self.sky = Output(1)

    def decode(self, projected: list[jax.Array], images: jax.Array, outputs: tuple[str, ...]) -> dict[str, jax.Array]:
        """`depth` (V, H, W) and `sky` (V, H, W), which from 0.3 on means sky."""
        size = images.shape[1:3]
        x = self.upsample(self.neck(self.fuse(self.levels(projected, size), self.fusions)[-1]), size)
        out = {}
        if "depth" in outputs:
            out["depth"] = jnp.exp(self.output(x)[..., 0])
        if "sky" in outputs:
            out["sky"] = nn.relu(self.sky(x)[..., 0])
        return out
