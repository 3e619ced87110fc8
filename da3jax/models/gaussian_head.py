"""GS-DPT: one Gaussian a pixel in raw parameters, from taps and image (paper, section 5)."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from flax import linen as nn

from da3jax.config import GaussianHeadConfig
from da3jax.models.dpt import Conv3x3, Output, Pyramid


class ImageMerger(nn.Module):
    """Image features at full size: three times 3 × 3 and GELU."""

    features: int

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        x = images.astype(jnp.float32)
        for k, shrink in enumerate((4, 2, 1), 1):
            x = nn.gelu(Conv3x3(self.features // shrink, name=f"conv_{k}")(x), approximate=False)
        return x


class GaussianHead(Pyramid):
    """A DPT whose last layers also see the image."""

    output_dim: int = 38

    @staticmethod
    def build(config: GaussianHeadConfig, **options: bool) -> GaussianHead:
        return GaussianHead(config.features, config.channels, output_dim=config.output_dim, **options)

    def setup(self):
        super().setup()
        self.neck = Conv3x3(self.features // 2)
        self.output = Output(self.output_dim)
        self.image_merger = ImageMerger(self.features // 2)

    def decode(self, projected: list[jax.Array], images: jax.Array) -> dict[str, jax.Array]:
        """`raw_gs` (V, H, W, 37): xy offset 2, scale 3, quaternion 4, harmonics 27, depth offset 1; `raw_gs_conf` (V, H, W) in (0, 1)."""
        size = images.shape[1:3]
        x = self.neck(self.fuse(self.levels(projected, size), self.fusions)[-1])
        raw = self.output(self.upsample(x, size, plus=self.image_merger(images)))
        return {"raw_gs": raw[..., :-1], "raw_gs_conf": nn.sigmoid(raw[..., -1])}
