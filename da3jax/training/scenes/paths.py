"""Camera paths inside the ring of a scene, smooth and of a chosen extent: orbits, walks, turns on the spot, wanderings."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from da3jax.geometry import invert_rigid
from da3jax.training.scenes.numbers import Numbers
from da3jax.training.scenes.scene import Scene
from da3jax.training.scenes.terrain import height

PATHS = ("orbit", "walk", "turn", "wander")


@dataclasses.dataclass(frozen=True)
class CameraRanges:
    """What `sample_cameras` draws from; a static argument under `jit`.

    Raises:
        ValueError: a range that is empty or out of bounds, or shares that are not four non-negative numbers, one of them positive.
    """

    shares: tuple[float, float, float, float] = (0.42, 0.2, 0.1, 0.28)
    """How often a path is one of `PATHS`."""
    motion: tuple[float, float] = (0.1, 1.0)
    """How much of the ring a path covers, drawn evenly in the logarithm; small is much overlap."""
    fov: tuple[float, float] = (38.0, 95.0)
    """Field of view along the longer side, in degrees; its tangent is drawn evenly in the logarithm."""
    zoom: float = 0.25
    """Share of scenes whose views have each a focal length of their own."""
    overlap: float = 0.2
    """Share of what a view sees that the next one is to see, too."""

    def __post_init__(self):
        if len(self.shares) != len(PATHS) or min(self.shares) < 0 or not 0 < sum(self.shares) < float("inf"):
            raise ValueError(f"shares are {self.shares}; they are {len(PATHS)} numbers, none negative and not all 0: {', '.join(PATHS)}")
        for name, least, most in (("motion", 0, 1), ("fov", 5, 150)):
            low, high = getattr(self, name)
            if not least < low <= high <= most:
                raise ValueError(f"{name} is from {low} to {high}; it lies above {least} and up to {most}, the lower end first")
        for name in ("zoom", "overlap"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a share from 0 to 1")


def sample_focal(numbers: Numbers, ranges: CameraRanges, views: int) -> jax.Array:
    """Focal lengths (S,) in halves of the longer side."""
    low, high = (1 / jnp.tan(jnp.radians(jnp.array(fov)) / 2) for fov in reversed(ranges.fov))
    focal = numbers.loguniform(low, high)
    own = jnp.clip(focal * numbers.loguniform(0.7, 1.4, (views,)), low, high)
    return jnp.where(numbers.chance(ranges.zoom), own, focal)


def sample_path(key: jax.Array, scene: Scene, views: int, path: jax.Array, motion: jax.Array, field: jax.Array) -> jax.Array:
    """World-to-camera extrinsics (S, 3, 4) along one path.

    Args:
        key: of the random numbers.
        scene: its ring is where the cameras stand.
        views: S.
        path: () index into `PATHS`.
        motion: () how much of the ring the path covers.
        field: () field of view in radians, which measures the steps of a turn on the spot.
    """
    numbers = Numbers(key, 64 + 8 * views)
    ring = scene.ring
    t = jnp.linspace(0, 1, views) if views > 1 else jnp.zeros(1)
    # In the ring's own coordinates (radius, angle, height) it is a box, and whatever stays in the box stays in the open.
    turns = path == PATHS.index("turn")
    begin, end = numbers.uniform(0, 1, (3,)), numbers.uniform(0, 1, (3,))
    extent = jnp.where(turns, 0.0, motion)
    place = begin[None] + extent * t[:, None] * (end - begin)[None] + 0.05 * (extent + 0.02) * numbers.normal((views, 3))
    place = jnp.clip(place, 0, 1)
    radius = ring.inner + place[:, 0] * (ring.outer - ring.inner)
    angle = ring.start + place[:, 1] * ring.span
    x, y = radius * jnp.cos(angle), radius * jnp.sin(angle)
    centre = jnp.stack([x, y, height(scene.terrain, x, y) + ring.low + place[:, 2] * (ring.high - ring.low)], axis=-1)

    # Orbit: something in the middle. Wander: from one thing to another, in the middle or outside.
    target = _target(numbers, scene, jnp.bool_(False))
    out = numbers.chance(0.5)
    first, second = _target(numbers, scene, out), _target(numbers, scene, out)
    wander = first[None] + 0.6 * motion * t[:, None] * (second - first)[None]
    # Walk: ahead, or at a constant angle to it. Turn: on and on.
    forward = jnp.stack([-jnp.sin(angle), jnp.cos(angle)], axis=-1) * radius[:, None] * (end - begin)[1] * ring.span
    forward += jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1) * (end - begin)[0] * (ring.outer - ring.inner)
    aside = jnp.where(numbers.chance(0.6), 0.35, 1.6) * numbers.normal()
    ahead = jnp.arctan2(forward[:, 1], forward[:, 0]) + aside
    step = field * numbers.uniform(0.15, 0.75) * jnp.minimum(1, 2 * motion + 0.2)
    ahead = jnp.where(turns, 2 * jnp.pi * begin[0] + jnp.sign(end[0] - 0.5) * step * (views - 1) * t, ahead)
    pitch = jnp.radians(numbers.uniform(-25, 9))
    level = jnp.stack([jnp.cos(ahead), jnp.sin(ahead), jnp.broadcast_to(jnp.tan(pitch), ahead.shape)], axis=-1)
    gaze = jnp.where(path == 0, target[None] - centre, jnp.where(path == 3, wander - centre, level))
    return _extrinsics(numbers, centre, gaze, jnp.where(scene.room.present, 0.4, 0.25))


def _target(numbers: Numbers, scene: Scene, out: jax.Array) -> jax.Array:
    """A point (3,) to look at, inside the ring or outside it."""
    inner, outer = scene.ring.inner, scene.ring.outer
    radius = jnp.where(out, outer * numbers.uniform(1.5, 3), inner * numbers.uniform(0, 0.7))
    angle = numbers.uniform(0, 2 * jnp.pi)
    z = scene.size * numbers.uniform(0.1, 1.1)
    return jnp.stack([radius * jnp.cos(angle), radius * jnp.sin(angle), z])


def _extrinsics(numbers: Numbers, centre: jax.Array, gaze: jax.Array, highest: jax.Array) -> jax.Array:
    """World-to-camera (S, 3, 4) of cameras that look along `gaze`, held by hand: not quite at it and not quite upright.

    `highest` is the tangent of the largest angle above the horizon.
    """
    views = centre.shape[0]
    shake = jnp.radians(2.5) * numbers.normal((views, 3))
    gaze = gaze / jnp.linalg.norm(gaze, axis=-1, keepdims=True) + shake
    level = jnp.linalg.norm(gaze[:, :2], axis=-1)
    gaze = gaze.at[:, 2].set(jnp.clip(gaze[:, 2], -3.0 * level, highest * level))
    z = gaze / jnp.linalg.norm(gaze, axis=-1, keepdims=True)
    x = jnp.stack([z[:, 1], -z[:, 0], jnp.zeros(views)], axis=-1)  # z × up
    x = x / jnp.linalg.norm(x, axis=-1, keepdims=True)
    y = jnp.cross(z, x)
    common = jnp.where(numbers.chance(0.15), 0.3, 0.03) * numbers.normal()
    roll = (common + 0.03 * numbers.normal((views,)))[:, None]
    x, y = jnp.cos(roll) * x + jnp.sin(roll) * y, jnp.cos(roll) * y - jnp.sin(roll) * x
    return invert_rigid(jnp.stack([x, y, z, centre], axis=-1))
