"""Where rays end: the nearest surface of a scene along each."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from da3jax.training.scenes.room import inside_room, room_entry, room_normal
from da3jax.training.scenes.scene import BACKDROP, FLOOR, GROUND, SKY, SOLID, Scene, Vector, along, columns
from da3jax.training.scenes.solids import nearest_solid, normalized, surface_of_solid
from da3jax.training.scenes.terrain import below_edge, ground_entry, ground_normal, leave_circle


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Hits:
    """Where rays end; arrays have the rays' shape."""

    t: jax.Array
    """Multiples of the ray's direction, infinity in the sky: where that direction is R K⁻¹ (u, v, 1), depth along the camera's z axis."""
    surface: jax.Array
    """int32 number of the surface (`scene.SKY` and the following)."""
    normal: jax.Array
    """(..., 3) unit vector in the world towards the ray's side, 0 in the sky."""


def cast(scene: Scene, origin: jax.Array, direction: jax.Array) -> Hits:
    """Casts rays (..., 3) that start in the open into one scene; directions have any length."""

    def one(origin: jax.Array, direction: jax.Array) -> tuple:
        direction = columns(direction)
        t, surface = nearest(scene, columns(origin), direction)
        point = along(columns(origin), jnp.where(surface == SKY, 0, t), direction)
        normal = surface_at(scene, surface, point)[0]
        return t, surface, normal

    flat = [jnp.broadcast_to(x, direction.shape).reshape(-1, 3) for x in (origin, direction)]
    t, surface, normal = jax.tree.map(lambda x: x.reshape(direction.shape[:-1]), in_parts(one, *flat))
    return Hits(t, surface, jnp.stack(normal, axis=-1))


def in_parts(function: Callable, *arrays: jax.Array) -> Any:
    """`function` over the leading axis of arrays, in a loop over four parts.

    What a loop returns XLA computes once. Elsewhere it computes a value again in each kernel that needs it, and, where values are stacked,
    one number at a time: a picture then takes a hundred times as long.
    """
    return jax.lax.map(lambda row: function(*row), arrays, batch_size=max(len(arrays[0]) // 4, 1))


def nearest(scene: Scene, origin: Vector, direction: Vector) -> tuple[jax.Array, jax.Array]:
    """The t at which rays end, and at what surface; infinity in the sky."""
    t, solid = nearest_solid(scene.solids, origin, direction)
    surface = jnp.where(solid >= 0, SOLID + solid, SKY)
    ground, border = ground_entry(scene.terrain, origin, direction), leave_circle(scene.backdrop.radius, origin, direction)
    ground = jnp.where(ground < border, ground, jnp.inf)  # the world ends there
    indoors = inside_room(scene.room, along(origin, jnp.where(jnp.isfinite(ground), ground, 0), direction))
    for other, number in (
        (ground, jnp.where(indoors, FLOOR, GROUND)),
        room_entry(scene.room, origin, direction),
        (jnp.where(below_edge(scene.backdrop, along(origin, border, direction)), border, jnp.inf), BACKDROP),
    ):
        surface = jnp.where(other < t, number, surface)
        t = jnp.minimum(t, other)
    return t, surface


def surface_at(scene: Scene, surface: jax.Array, point: Vector) -> tuple[Vector, Vector, Vector]:
    """Of points on surfaces: the unit normal in the world, and point and normal as the surface's pattern is drawn."""
    normal, own_point, own_normal = surface_of_solid(scene.solids, jnp.maximum(surface - SOLID, 0), point)
    solid = surface >= SOLID
    ground, wall = ground_normal(scene.terrain, point[0], point[1]), room_normal(surface)
    inward = normalized((-point[0], -point[1], jnp.zeros_like(point[0])))
    level = (surface == GROUND) | (surface == FLOOR)
    other = tuple(
        jnp.where(level, g, jnp.where(surface == BACKDROP, b, jnp.where(surface == SKY, 0, w)))
        for g, b, w in zip(ground, inward, wall, strict=True)
    )

    def choose(a: Vector, b: Vector) -> Vector:
        return tuple(jnp.where(solid, x, y) for x, y in zip(a, b, strict=True))

    return choose(normal, other), choose(own_point, point), choose(own_normal, other)
