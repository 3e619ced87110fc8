"""What a procedural scene is made of: plain dataclasses of fixed shapes that JAX knows as pytrees, so that scenes batch by `vmap`.

The world is in metres, right-handed, z up; the ground lies around z = 0. Every ray ends: on a solid, on a wall or the ceiling of a room,
on the ground, on the backdrop that rings the world, or in the sky above that.

Code that works on rays takes vectors as tuples (x, y, z) of scalars or of arrays of one shape: so the pixels are the last axis of every
array and XLA vectorises along them. `vmap` batches it over scenes and views, not over pixels: each `vmap` traces all of it once more.
"""

from __future__ import annotations

import dataclasses
from typing import Any

import jax

BOXES, SPHERES, CYLINDERS = 10, 5, 7
"""How many solids of each kind a scene has room for, in this order; those that it does not use lie far below the ground."""
SOLIDS = BOXES + SPHERES + CYLINDERS

SKY, GROUND, FLOOR, WALL, CEILING, BACKDROP, SOLID = 0, 1, 2, 3, 7, 8, 9
"""Numbers of surfaces. Walls are 3 to 6 (towards −x, +x, −y, +y); the first solid is 9, and all from there on are objects."""
SURFACES = SOLID + SOLIDS

WAVES = 4
OPENINGS = 2

Vector = tuple[Any, Any, Any]
"""x, y and z, each a scalar or an array of one shape."""


def _pytree(cls: type) -> type:
    return jax.tree_util.register_dataclass(dataclasses.dataclass(frozen=True)(cls))


@_pytree
class Solids:
    """Boxes, then ellipsoids, then elliptic cylinders: [−1, 1]³, the unit sphere, the unit cylinder along z, stretched, turned, moved."""

    centre: jax.Array
    """(K, 3)."""
    half: jax.Array
    """(K, 3) half the size along each axis of its own."""
    rotation: jax.Array
    """(K, 3, 3) from its own axes to the world's."""


@_pytree
class Waves:
    """A sum of plane waves over x and y, between −1 and 1."""

    frequency: jax.Array
    """(W, 2) in periods a metre."""
    phase: jax.Array
    """(W,) in periods."""
    weight: jax.Array
    """(W,); absolute values add up to 1."""


@_pytree
class Terrain:
    """The ground: a height field inside a circle around the origin, towards whose border it fades into the plane z = 0."""

    amplitude: jax.Array
    """() greatest height and depth in metres; 0 is a plane."""
    radius: jax.Array
    """() of the circle."""
    waves: Waves


@_pytree
class Backdrop:
    """A cylinder around the world with a wavy upper edge: hills or woods on the horizon. Beyond it is only sky."""

    radius: jax.Array
    base: jax.Array
    """() mean height of the edge."""
    amplitude: jax.Array
    """() what the edge varies by."""
    waves: Waves


@_pytree
class Room:
    """Four walls around the origin, with openings to see out of, and perhaps a ceiling."""

    present: jax.Array
    """() bool."""
    ceiling: jax.Array
    """() bool."""
    half: jax.Array
    """(2,) half the inner length along x and y."""
    height: jax.Array
    opening_wall: jax.Array
    """(O,) which wall, 0 to 3, has the opening."""
    opening: jax.Array
    """(O, 4) along the wall from, to, then height from, to; empty where from is not below to."""


@_pytree
class Materials:
    """What surfaces look like, by number of surface (M leading)."""

    first: jax.Array
    """(M, 3) linear colour."""
    second: jax.Array
    """(M, 3) the other colour of its pattern."""
    pattern: jax.Array
    """(M,) index into `texture.PATTERNS`."""
    frequency: jax.Array
    """(M,) in cells a metre."""
    offset: jax.Array
    """(M, 3) of the pattern, in metres."""
    direction: jax.Array
    """(M, 3) unit vector across stripes."""
    grain: jax.Array
    """(M,) how much fine noise changes the brightness."""
    gloss: jax.Array
    """(M,) strength of highlights."""


@_pytree
class Light:
    """One light, a lamp or the sun, and what comes from all around."""

    position: jax.Array
    """(3,) of the lamp; of the sun the direction towards it."""
    sun: jax.Array
    """() bool."""
    colour: jax.Array
    """(3,) of the light, linear."""
    ambient: jax.Array
    """(3,) from above; from below comes half."""
    reach: jax.Array
    """() metres at which a lamp's light has halved."""
    haze: jax.Array
    """() metres at which haze has taken 63 % of a surface's colour."""


@_pytree
class Ring:
    """Where cameras may stand: part of a ring around the origin in which nothing else is."""

    inner: jax.Array
    outer: jax.Array
    start: jax.Array
    """() angle, in radians, where the part begins."""
    span: jax.Array
    """() angle that it covers."""
    low: jax.Array
    """() least height above the ground."""
    high: jax.Array


@_pytree
class Scene:
    """A world to look at; made by `sample_scene`. Arrays have these shapes behind any batch axes."""

    solids: Solids
    terrain: Terrain
    backdrop: Backdrop
    room: Room
    materials: Materials
    light: Light
    ring: Ring
    size: jax.Array
    """() what lengths of this scene were multiplied by."""


def take(tree: Any, index: Any) -> Any:
    """Row `index` of every array of a pytree."""
    return jax.tree.map(lambda x: x[index], tree)


def columns(x: jax.Array) -> Vector:
    """The last axis of three as a vector."""
    return x[..., 0], x[..., 1], x[..., 2]


def dot(a: Vector, b: Vector) -> Any:
    return a[0] * b[0] + a[1] * b[1] + a[2] * b[2]


def along(origin: Vector, t: Any, direction: Vector) -> Vector:
    return tuple(o + t * d for o, d in zip(origin, direction, strict=True))


def times(matrix: jax.Array, v: Vector) -> Vector:
    """Matrix (..., 3, 3) times v."""
    return tuple(dot(columns(matrix[..., i, :]), v) for i in range(3))
