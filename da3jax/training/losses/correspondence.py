"""Which patches of two views show the same: what a network that starts from nothing is slow to find out by itself."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from da3jax.config import PATCH_SIZE
from da3jax.geometry import project
from da3jax.geometry.safe import safe_norm
from da3jax.training.losses.masked import masked_mean
from da3jax.training.losses.normalization import NormalizedTargets

OCCLUSION = 0.05
"""A point that lies more than this share of its depth behind what a view sees there is hidden from it."""
COMPARED = 0.5
"""Share of a feature's channels that are to be alike."""


def correspondence_loss(features: jax.Array, truth: NormalizedTargets, *, temperature: float = 0.1) -> jax.Array:
    """Mean () cross-entropy of finding a patch's middle again among the patches of each other view.

    Of the features (B, S, h, w, C) of patches the first half of the channels is compared, lest what tells where a patch is be lost from the
    others: by its cosine over the temperature, with a softmax over the patches of one view. What is to be found is where that view sees the
    point, shared among the four patches whose middles are next to it. Points that are hidden, outside or not known do not count; a scene of
    one view has none. All patches of a scene are compared with each other: of 18 views of 504 × 504 those are 544 million pairs, each a few
    times 4 bytes.

    Not of the paper, whose network starts from DINOv2, which matches patches already. Source of the form: InfoNCE (arXiv 1807.03748).

    Raises:
        ValueError: the features are not those of the truth's patches.
    """
    patches, seen = find_patches(truth)
    if features.shape[:-1] != (*seen.shape[:2], *seen.shape[3:]):
        raise ValueError(f"features have shape {features.shape}; for these targets it is {(*seen.shape[:2], *seen.shape[3:])} and channels")
    compared = features[..., : int(features.shape[-1] * COMPARED)]
    unit = compared / jnp.maximum(safe_norm(compared), 1e-6)[..., None]
    logits = jnp.einsum("bihwc,bjyxc->bijhwyx", unit, unit) / temperature
    spread = jax.nn.logsumexp(logits, axis=(-2, -1))
    return masked_mean(spread - jnp.sum(patches * logits, axis=(-2, -1)), seen)


def find_patches(truth: NormalizedTargets) -> tuple[jax.Array, jax.Array]:
    """Where the points at the middles of patches lie in other views: shares (B, S, S', h, w, h', w') of the patches of view S', which are
    0 or sum to 1, and (B, S, S', h, w) bool, whether that view sees the point of S.
    """
    scenes, views, height, width = truth.depth.shape
    middle = slice(PATCH_SIZE // 2, None, PATCH_SIZE)

    def to_each(x: jax.Array, axis: int) -> jax.Array:
        x = jnp.expand_dims(x, axis)
        return jnp.broadcast_to(x, (scenes, views, views, *x.shape[3:]))

    points, known = (to_each(x[:, :, middle, middle], 2) for x in (truth.points, truth.point_mask))
    pixels, depth = project(points, to_each(truth.extrinsics, 1), to_each(truth.intrinsics, 1))
    x, y = pixels[..., 0], pixels[..., 1]
    inside = (x >= 0) & (x < width) & (y >= 0) & (y < height) & (depth > 0)
    # Scene by scene and view by view, for a look-up along an axis that is split over devices would gather it.
    look_up = jax.vmap(jax.vmap(lambda image, rows, columns: image[rows, columns], (0, 1, 1), 1))
    at = [jnp.clip(place.astype(int), 0, size - 1) for place, size in ((y, height), (x, width))]
    visible = look_up(truth.point_mask, *at) & (depth < (1 + OCCLUSION) * look_up(truth.depth, *at))
    other = ~jnp.eye(views, dtype=bool)[None, :, :, None, None]
    seen = known & inside & visible & other

    def shares(place: jax.Array, count: int) -> jax.Array:
        place = jnp.clip(place / PATCH_SIZE - 0.5, 0, count - 1)[..., None]
        return jnp.maximum(1 - jnp.abs(place - jnp.arange(count).reshape(*(1,) * (place.ndim - 1), count)), 0)

    rows, columns = shares(y, height // PATCH_SIZE), shares(x, width // PATCH_SIZE)
    return jnp.where(seen[..., None, None], rows[..., :, None] * columns[..., None, :], 0), seen
