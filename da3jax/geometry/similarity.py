"""Similarity transforms: rotation, translation and one scale."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from da3jax.geometry.rigid import transform_points
from da3jax.geometry.safe import matmul


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Similarity:
    """x → scale · rotation · x + translation, from one world frame to another; any leading axes."""

    scale: jax.Array
    """(...) positive."""
    rotation: jax.Array
    """(..., 3, 3)."""
    translation: jax.Array
    """(..., 3), in units of the frame it leads to."""

    @classmethod
    def identity(cls, leading: tuple[int, ...] = (), dtype: jnp.dtype = jnp.float32) -> Similarity:
        """The transform that leaves everything where it is."""
        rotation = jnp.broadcast_to(jnp.eye(3, dtype=dtype).reshape(*(1,) * len(leading), 3, 3), (*leading, 3, 3))
        return cls(jnp.ones(leading, dtype), rotation, jnp.zeros((*leading, 3), dtype))

    def matrix(self) -> jax.Array:
        """(..., 3, 4): scale · rotation beside the translation."""
        return jnp.concatenate([self.scale[..., None, None] * self.rotation, self.translation[..., None]], axis=-1)

    def apply(self, points: jax.Array) -> jax.Array:
        """Points (*L, *any, 3) of the first frame in the second, for a similarity with leading axes L."""
        return transform_points(self.matrix(), points)

    def apply_to_cameras(self, extrinsics: jax.Array) -> jax.Array:
        """World-to-camera (*L, *any, 3, 4) for the second frame, from (*L, *any, 3 or 4, 4) for the first.

        Cameras stay rigid: what carries the scale is their translation, and the depth of what they see has to be multiplied by `scale`.
        """
        between = extrinsics.ndim - 2 - self.scale.ndim
        scale, back, shift = (
            x.reshape(*self.scale.shape, *(1,) * between, *tail)
            for x, tail in ((self.scale, (1, 1)), (jnp.swapaxes(self.rotation, -1, -2), (3, 3)), (self.translation, (3, 1)))
        )
        rotation = matmul(extrinsics[..., :3, :3], back)
        return jnp.concatenate([rotation, scale * extrinsics[..., :3, 3:] - matmul(rotation, shift)], axis=-1)

    def inverse(self) -> Similarity:
        """From the second frame back to the first."""
        rotation = jnp.swapaxes(self.rotation, -1, -2)
        moved = matmul(rotation, self.translation[..., None])[..., 0]
        return Similarity(1 / self.scale, rotation, -moved / self.scale[..., None])

    def compose(self, first: Similarity) -> Similarity:
        """`first`, then this one."""
        moved = matmul(self.rotation, first.translation[..., None])[..., 0]
        translation = self.scale[..., None] * moved + self.translation
        return Similarity(self.scale * first.scale, matmul(self.rotation, first.rotation), translation)
