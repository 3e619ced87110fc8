"""Random solids, each in a place that leaves the cameras' ring free."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from da3jax.geometry import rotation_from_axis_angle
from da3jax.training.scenes.numbers import Numbers
from da3jax.training.scenes.scene import BOXES, SOLIDS, SPHERES, Room, Solids, Terrain
from da3jax.training.scenes.terrain import height

_DEEP = -1e4
"""Height of what is not there."""


def sample_solids(
    numbers: Numbers,
    indoor: jax.Array,
    size: jax.Array,
    ring: tuple[jax.Array, jax.Array],
    gap: tuple[jax.Array, jax.Array],
    room: Room,
    terrain: Terrain,
    limit: jax.Array,
) -> Solids:
    """Solids inside the ring, around it and in its gap, some of them absent.

    Args:
        numbers: random ones.
        indoor: whether there is a room.
        size: metres that go for one here.
        ring: inner and outer radius of what stays free.
        gap: angles where the sector begins that need not stay free, and that it spans.
        room: its walls bound the things around the ring, and pictures hang on them.
        terrain: what things stand on.
        limit: radius in which things stand in the open.
    """
    half, poles = _sample_shapes(numbers, size)
    rotation, tilted = _sample_rotations(numbers)
    crowd = numbers.uniform(0.25, 1)  # from nearly empty scenes to full ones
    draw = numbers.uniform(0, 1, (SOLIDS,)) / crowd
    inside, near, around = draw < 0.42, (draw >= 0.42) & (draw < 0.5), (draw >= 0.5) & (draw < 1)
    inside = inside.at[jnp.array([0, BOXES])].set(True)  # something to look at in any case
    near, around = near & ~inside, around & ~inside
    grown = jnp.where(indoor, numbers.loguniform(0.7, 2, (SOLIDS,)), numbers.loguniform(0.7, 9, (SOLIDS,)))
    half = half * jnp.where(around & ~poles, grown, 1)[:, None]

    radius, angle, room_for = _sample_places(numbers, size, ring, gap, room, indoor, limit, (inside, near))
    reach = jnp.where(tilted, jnp.linalg.norm(half, axis=-1), jnp.linalg.norm(half[:, :2], axis=-1))
    shrink = jnp.minimum(0.9 * room_for / reach, 1)
    half = jnp.where(tilted[:, None], half * shrink[:, None], half.at[:, :2].multiply(shrink[:, None]))
    reach = reach * shrink
    share = numbers.uniform(0, 1, (SOLIDS,))
    # Inside, near and around: the circle of radius `reach` stays within the disc, at the middle of the gap, beyond the ring.
    radius = jnp.where(
        inside, jnp.sqrt(share) * (ring[0] - reach), jnp.where(near, radius, radius + reach + 2 * share**2 * (room_for - reach))
    )

    x, y = radius * jnp.cos(angle), radius * jnp.sin(angle)
    half = half.at[:, 2].set(jnp.where(indoor & ~tilted, jnp.minimum(half[:, 2], 0.46 * room.height), half[:, 2]))
    upward = jnp.sum(jnp.abs(rotation[:, 2]) * half, axis=-1)
    lifted = numbers.chance(0.15, (SOLIDS,)) & ~poles
    lift = jnp.where(lifted, numbers.uniform(0, 1.2 * size, (SOLIDS,)), -0.05 * upward)
    z = height(terrain, x, y) + upward + lift
    z = jnp.where(inside | near | around, z, _DEEP)
    solids = Solids(centre=jnp.stack([x, y, z], axis=-1), half=half, rotation=rotation)
    return _hang_pictures(numbers, solids, room, indoor, size)


def _sample_shapes(numbers: Numbers, size: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Half sizes (K, 3), and which solids are poles."""
    number = jnp.arange(SOLIDS)
    box, sphere = number < BOXES, (number >= BOXES) & (number < BOXES + SPHERES)
    half = numbers.loguniform(0.07, 0.5, (SOLIDS,))[:, None] * jnp.exp(0.45 * numbers.normal((SOLIDS, 3)))
    thin_axis = jax.nn.one_hot(numbers.whole(0, 3, (SOLIDS,)), 3)
    board = box & numbers.chance(0.3, (SOLIDS,))
    half = jnp.where(board[:, None], half * (1 + 0.5 * (1 - thin_axis) - 0.92 * thin_axis), half)
    mean = jnp.exp(jnp.mean(jnp.log(half), axis=-1, keepdims=True))
    round_enough = sphere & numbers.chance(0.6, (SOLIDS,))
    half = jnp.where(round_enough[:, None], mean, half)
    poles = ~box & ~sphere & numbers.chance(0.5, (SOLIDS,))
    pole = jnp.stack([numbers.loguniform(0.008, 0.06, (SOLIDS,))] * 2 + [numbers.loguniform(0.3, 1.8, (SOLIDS,))], axis=-1)
    even = jnp.where((~box & ~sphere)[:, None], half.at[:, 1].set(half[:, 0]), half)
    return size * jnp.where(poles[:, None], pole, even), poles


def _sample_rotations(numbers: Numbers) -> tuple[jax.Array, jax.Array]:
    """Rotations (K, 3, 3), most of them about the vertical only, and which are not."""
    tilted = numbers.chance(0.2, (SOLIDS,))
    yaw = jnp.zeros((SOLIDS, 3)).at[:, 2].set(numbers.uniform(-jnp.pi, jnp.pi, (SOLIDS,)))
    return rotation_from_axis_angle(jnp.where(tilted[:, None], 1.2 * numbers.normal((SOLIDS, 3)), yaw)), tilted


def _sample_places(
    numbers: Numbers, size: jax.Array, ring: tuple, gap: tuple, room: Room, indoor: jax.Array, limit: jax.Array, where: tuple
) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Radius from which on a solid stands, angle, and the radius of the circle that it has to fit into or, around the ring, may roam."""
    inside, near = where
    inner, outer = ring
    start, span = gap
    angle = jnp.where(near, start + span / 2, numbers.uniform(0, 2 * jnp.pi, (SOLIDS,)))
    between = numbers.uniform(inner, outer, (SOLIDS,))
    to_wall = jnp.min(room.half[:, None] / jnp.maximum(jnp.abs(jnp.stack([jnp.cos(angle), jnp.sin(angle)])), 1e-3), axis=0)
    to_end = outer + (limit - outer) * numbers.uniform(0.1, 0.6, (SOLIDS,))
    beyond = (jnp.where(indoor, to_wall, to_end) - outer) / 2
    sector = 0.7 * between * jnp.sin(jnp.minimum(span / 2, jnp.pi / 2))
    return jnp.where(near, between, outer), angle, jnp.where(inside, inner, jnp.where(near, sector, beyond))


def _hang_pictures(numbers: Numbers, solids: Solids, room: Room, indoor: jax.Array, size: jax.Array) -> Solids:
    """In rooms, up to three of the boxes become flat and hang on the walls."""
    count = 3
    rows = slice(BOXES - count, BOXES)
    wall = numbers.whole(0, 4, (count,))
    on_x, sign = wall < 2, jnp.where(wall % 2 == 0, -1, 1)
    thick = size * numbers.uniform(0.01, 0.04, (count,))
    wide = size * numbers.uniform(0.2, 0.8, (count,))
    tall = size * numbers.uniform(0.15, 0.5, (count,))
    along_wall = numbers.uniform(-0.8, 0.8, (count,))
    z = room.height * numbers.uniform(0.4, 0.65, (count,))
    depth, length = jnp.where(on_x, room.half[0], room.half[1]) - thick, jnp.where(on_x, room.half[1], room.half[0])
    centre = jnp.stack([jnp.where(on_x, sign * depth, along_wall * length), jnp.where(on_x, along_wall * length, sign * depth), z], axis=-1)
    half = jnp.stack([jnp.where(on_x, thick, wide), jnp.where(on_x, wide, thick), tall], axis=-1)
    hung = Solids(centre, half, jnp.broadcast_to(jnp.eye(3), (count, 3, 3)))
    hang = indoor & numbers.chance(0.6, (count,))

    def put(old: jax.Array, new: jax.Array) -> jax.Array:
        return old.at[rows].set(jnp.where(hang.reshape(-1, *(1,) * (old.ndim - 1)), new, old[rows]))

    return jax.tree.map(put, solids, hung)
