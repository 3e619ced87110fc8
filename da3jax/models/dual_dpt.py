"""Dual-DPT: depth and rays from one pyramid with a fusion of its own for each (paper, section 3.2)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from da3jax.config import DualDPTConfig
from da3jax.models.dpt import Conv3x3, Fusion, Output, Pyramid
from da3jax.models.layers import layer_norm
from da3jax.ops.position_embedding import add_uv_embedding

RAY_LEVELS = 4
"""Levels whose output layers the checkpoints carry, coarsest first. Only the last, finest one is used."""


class RayLevel(nn.Module):
    """Five 3 × 3 convolutions with nothing between them, then the output layers: six ray channels and a confidence."""

    features: int

    def setup(self):
        half = self.features // 2
        self.stack = [Conv3x3(width, name=f"conv_{k}") for k, width in enumerate((half, self.features, half, self.features, half), 1)]
        self.output = Output(7)

    def __call__(self, x: jax.Array, norm: nn.Module, aspect: float) -> jax.Array:
        for conv in self.stack:
            x = conv(x)
        return self.output(add_uv_embedding(x, aspect), norm)


class DualDPT(Pyramid):
    """Depth at the image's size, rays at 8 × the patch grid, each with its confidence."""

    tap_norm: bool = True

    @staticmethod
    def build(config: DualDPTConfig, **options: bool) -> DualDPT:
        return DualDPT(config.features, config.channels, **options)

    def setup(self):
        super().setup()
        self.neck = Conv3x3(self.features // 2)
        self.output = Output(2)
        self.ray_fusions = [Fusion(name=f"ray_fusion_{k}") for k in range(1, 5)]
        self.ray_levels = [RayLevel(self.features, name=f"ray_level_{k}") for k in range(RAY_LEVELS)]
        self.ray_norm = layer_norm()  # one for all levels

    def decode(self, projected: list[jax.Array], images: jax.Array, outputs: tuple[str, ...]) -> dict[str, jax.Array]:
        """`depth`, `depth_conf` (V, H, W); `ray` (V, 8h, 8w, 6) and `ray_conf` (V, 8h, 8w). Confidences are at least 1."""
        size = images.shape[1:3]
        levels = self.levels(projected, size)
        out = {}
        if "depth" in outputs:
            logits = self.output(self.upsample(self.neck(self.fuse(levels, self.fusions)[-1]), size))
            out["depth"], out["depth_conf"] = jnp.exp(logits[..., 0]), jnp.exp(logits[..., 1]) + 1
        if "ray" in outputs:
            fused = self.fuse(levels, self.ray_fusions)
            used = range(RAY_LEVELS) if self.is_initializing() else [RAY_LEVELS - 1]
            logits = [self.ray_levels[k](fused[k], self.ray_norm, size[1] / size[0]) for k in used][-1]
            out["ray"], out["ray_conf"] = logits[..., :6], jnp.exp(logits[..., 6]) + 1
        return out
