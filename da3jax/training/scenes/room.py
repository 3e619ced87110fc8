"""Rays from inside a room against its walls and ceiling."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from da3jax.training.scenes.scene import CEILING, OPENINGS, WALL, Room, Vector, along
from da3jax.training.scenes.solids import nonzero


def room_entry(room: Room, origin: Vector, direction: Vector) -> tuple[jax.Array, jax.Array]:
    """The t at which a ray meets a wall or the ceiling and which surface that is; infinity where it leaves through an opening."""
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    to_x = (jnp.where(dx < 0, -room.half[0], room.half[0]) - ox) / nonzero(dx)
    to_y = (jnp.where(dy < 0, -room.half[1], room.half[1]) - oy) / nonzero(dy)
    to_x, to_y = (jnp.where(t > 0, t, jnp.inf) for t in (to_x, to_y))
    to_wall = jnp.minimum(to_x, to_y)
    x_first = to_x < to_y
    wall = jnp.where(x_first, jnp.where(dx < 0, 0, 1), jnp.where(dy < 0, 2, 3))
    x, y, z = along(origin, to_wall, direction)
    across = jnp.where(x_first, y, x)
    open_there = z > room.height
    for i in range(OPENINGS):
        left, right, low, high = (room.opening[i, j] for j in range(4))
        open_there |= (wall == room.opening_wall[i]) & (across > left) & (across < right) & (z > low) & (z < high)

    to_ceiling = jnp.where(room.ceiling & (dz > 0), (room.height - oz) / nonzero(dz), jnp.inf)
    on_ceiling = to_ceiling < to_wall
    t = jnp.where(on_ceiling, to_ceiling, jnp.where(open_there, jnp.inf, to_wall))
    return jnp.where(room.present, t, jnp.inf), jnp.where(on_ceiling, CEILING, WALL + wall)


def room_normal(surface: jax.Array) -> Vector:
    """Unit normal of a wall or the ceiling, into the room."""
    wall = surface - WALL
    x = jnp.where(wall == 0, 1.0, jnp.where(wall == 1, -1.0, 0.0))
    y = jnp.where(wall == 2, 1.0, jnp.where(wall == 3, -1.0, 0.0))
    return x, y, jnp.where(surface == CEILING, -1.0, 0.0)


def inside_room(room: Room, point: Vector) -> jax.Array:
    return room.present & (jnp.abs(point[0]) < room.half[0]) & (jnp.abs(point[1]) < room.half[1])
