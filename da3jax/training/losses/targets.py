"""Ground truth as a data pipeline gives it."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from da3jax.types import Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Targets:
    """What is known of B scenes with S views each, in any world and at any scale (one a scene)."""

    depth: Array
    """(B, S, H, W) distance along the camera's z axis. Anything, NaN too, where the mask is False."""
    mask: Array
    """(B, S, H, W) bool: where depth is known. Not finite or not positive depth, sky, and what is no object do not count in any case."""
    extrinsics: Array
    """(B, S, 3 or 4, 4) world-to-camera; NaN where not known. Only relative poses count, so a view alone needs none."""
    intrinsics: Array
    """(B, S, 3, 3) pixels of the depth map; NaN where they are not known."""
    normals: Array | None = None
    """(B, S, H, W, 3) in the camera's frame, towards the camera; zero or NaN where they are not known."""
    sky: Array | None = None
    """(B, S, H, W) bool, or from 0 to 1 with NaN where it is not known; sky from 0.5 on."""
    objects: Array | None = None
    """(B, S, H, W) likewise: what belongs to an object in data of objects alone, whose background has no depth. True in other data."""

    def valid(self) -> jax.Array:
        """(B, S, H, W) bool: the pixels whose depth counts."""
        mask = self.mask & jnp.isfinite(self.depth) & (self.depth > 0)
        if self.sky is not None:
            mask &= ~(self.sky >= 0.5)
        if self.objects is not None:
            mask &= ~(self.objects < 0.5)
        return mask


def check_targets(targets: Targets) -> None:
    """Raises a ValueError that names the first field whose shape or type does not fit the depth."""
    shape = jnp.shape(targets.depth)
    if len(shape) != 4 or 0 in shape:
        raise ValueError(f"targets.depth has shape {shape}; it is (scenes, views, height, width), each at least 1")
    views = shape[:2]
    fits = {
        "mask": [shape],
        "extrinsics": [(*views, 3, 4), (*views, 4, 4)],
        "intrinsics": [(*views, 3, 3)],
        "normals": [(*shape, 3)],
        "sky": [shape],
        "objects": [shape],
    }
    for name, allowed in fits.items():
        array = getattr(targets, name)
        if array is not None and jnp.shape(array) not in allowed:
            wanted = " or ".join(map(str, allowed))
            raise ValueError(f"targets.{name} has shape {jnp.shape(array)}; for depth of shape {shape} it is {wanted}")
    if targets.mask.dtype != bool:
        raise ValueError(f"targets.mask is {targets.mask.dtype}; it is bool, True where depth is known")
