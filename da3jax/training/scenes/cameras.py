"""Cameras that see enough of a scene, and enough of what the next one sees."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from da3jax.geometry import camera_to_world_from_extrinsics, intrinsics_from_half_sizes, points_from_rays, project, rays_from_cameras
from da3jax.training.scenes.cast import nearest
from da3jax.training.scenes.numbers import Numbers
from da3jax.training.scenes.paths import CameraRanges, sample_focal, sample_path
from da3jax.training.scenes.scene import SKY, Scene, columns, take

TRIES = 8
"""Paths that are looked at, each with less motion than the one before."""
LESS = 0.72

_PROBES = 5
"""Rays a side by which a view is judged."""
_SEEN = 0.35
"""Share of a view that is not sky."""
_NEAR = 0.25
"""Times a scene's size: what is nearer than this may take up `_CROWDED` of a view."""
_CROWDED = 0.25


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Cameras:
    """Cameras of the views of a scene."""

    extrinsics: jax.Array
    """(S, 3, 4) world-to-camera."""
    intrinsics: jax.Array
    """(S, 3, 3) pixels; the principal point is the image's centre."""


def sample_cameras(key: jax.Array, scene: Scene, views: int, height: int, width: int, ranges: CameraRanges | None = None) -> Cameras:
    """Cameras (S = `views`) along a path through one scene; `vmap` it over keys and scenes, `jit` it with the rest static.

    Cameras stand in the scene's ring, so in the open. Of `TRIES` paths, each with 72 % of the motion of the one before, the first is
    taken on which all views see enough and share enough with the next one (`CameraRanges.overlap`), and if there is none, the best.
    """
    ranges = CameraRanges() if ranges is None else ranges
    own, tries = jax.random.split(key)
    numbers = Numbers(own, views + 8)
    path = numbers.choice(ranges.shares)
    focal = sample_focal(numbers, ranges, views)
    pixels = focal * (max(height, width) / 2)
    per_half = jnp.stack([pixels / (width / 2), pixels / (height / 2)], axis=-1)
    intrinsics = intrinsics_from_half_sizes(per_half, jnp.zeros_like(per_half), height, width)
    motion = numbers.loguniform(*ranges.motion) * LESS ** jnp.arange(TRIES)
    field = 2 * jnp.arctan(width / 2 / jnp.max(pixels))
    draw = jax.vmap(lambda key, motion: sample_path(key, scene, views, path, motion, field))
    extrinsics = draw(jax.random.split(tries, TRIES), motion)
    score = jax.vmap(lambda extrinsics: _score(scene, Cameras(extrinsics, intrinsics), (height, width), ranges.overlap))(extrinsics)
    return Cameras(take(extrinsics, jnp.argmax(score)), intrinsics)


def _score(scene: Scene, cameras: Cameras, size: tuple[int, int], overlap: float) -> jax.Array:
    """3 where views see and share enough; less by what is missing."""
    rays = rays_from_cameras(cameras.extrinsics, cameras.intrinsics, size, (_PROBES, _PROBES))
    t, surface = nearest(scene, columns(rays[..., 3:]), columns(rays[..., :3]))
    solid = surface != SKY
    seen = jnp.min(jnp.mean(solid, axis=(1, 2)))
    free = 1 - jnp.max(jnp.mean(t < _NEAR * scene.size, axis=(1, 2)))
    points = points_from_rays(jnp.where(solid, t, 1), rays)
    shared = jnp.ones(())
    if (views := rays.shape[0]) > 1:
        first = np.arange(views - 1)
        one, other = np.r_[first, first + 1], np.r_[first + 1, first]
        shares = visible(scene, take(points, one), take(cameras, other), size) & solid[one]
        shared = jnp.min(jnp.mean(shares, axis=(1, 2)))
    return sum(jnp.minimum(x / enough, 1) for x, enough in ((seen, _SEEN), (free, 1 - _CROWDED), (shared, max(overlap, 1e-6))))


def visible(scene: Scene, points: jax.Array, cameras: Cameras, size: tuple[int, int]) -> jax.Array:
    """Which world points (S, h, w, 3) camera S sees: inside its picture of height × width `size`, with nothing in front."""
    pixel, depth = project(points, cameras.extrinsics, cameras.intrinsics)
    height, width = size
    inside = (depth > 0) & jnp.all((pixel > 0) & (pixel < jnp.array([width, height]).reshape(1, 1, 1, 2)), axis=-1)
    origin = camera_to_world_from_extrinsics(cameras.extrinsics)[:, None, None, :, 3]
    t, _ = nearest(scene, columns(origin), columns(points - origin))
    return inside & (t > 0.999)
