"""Random scenes: where a room's walls, the horizon and the cameras' ring are; `placement` puts the solids."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from da3jax.training.scenes.looks import sample_light, sample_materials
from da3jax.training.scenes.numbers import Numbers
from da3jax.training.scenes.placement import sample_solids
from da3jax.training.scenes.scene import OPENINGS, WAVES, Backdrop, Ring, Room, Scene, Terrain, Waves

_NUMBERS = 1400
"""At least as many random numbers as a scene takes."""

CLEARANCE = 0.15
"""Times a scene's size: what a camera keeps at least from the solids."""


def sample_scene(key: jax.Array) -> Scene:
    """A random scene, the same for the same key; `vmap` it over keys, `jit` it.

    Half of the scenes are rooms, some of them without a ceiling and some with openings to the outside; the others lie in the open, on flat
    or hilly ground. In the middle stand some things, around them is a ring for cameras that takes up most of a circle, and around that
    stand more. Nothing but ground is in the ring, and no camera is outside it: so cameras are in the open by construction. In the sector
    that the ring leaves out things stand as near as anywhere. Lengths go from poles of a centimetre to a horizon at 150 m.
    """
    numbers = Numbers(key, _NUMBERS)
    indoor = numbers.chance(0.5)
    size = jnp.where(indoor, numbers.loguniform(0.5, 1.5), numbers.loguniform(0.5, 3))
    inner = size * numbers.uniform(0.5, 1.3)
    outer = inner + size * numbers.uniform(0.8, 2)
    room = _sample_room(numbers, indoor, outer, size)
    start, span = numbers.uniform(0, 2 * jnp.pi), jnp.radians(numbers.uniform(230, 300))
    margin = CLEARANCE * size
    ring = Ring(
        inner=inner + margin,
        outer=outer - margin,
        start=start + margin / inner,
        span=span - 2 * margin / inner,
        low=0.4 * size,
        high=jnp.where(indoor, jnp.minimum(1.9 * size, 0.85 * room.height), 2.2 * size),
    )
    backdrop = _sample_backdrop(numbers, size)
    terrain = _sample_terrain(numbers, indoor, size, backdrop.radius)
    return Scene(
        solids=sample_solids(numbers, indoor, size, (inner, outer), (start + span, 2 * jnp.pi - span), room, terrain, backdrop.radius),
        terrain=terrain,
        backdrop=backdrop,
        room=room,
        materials=sample_materials(numbers, indoor, size),
        light=sample_light(numbers, room, size, backdrop.radius),
        ring=ring,
        size=size,
    )


def _sample_room(numbers: Numbers, present: jax.Array, outer: jax.Array, size: jax.Array) -> Room:
    half = outer + size * numbers.uniform(0.25, 2, (2,))
    height = size * numbers.uniform(2, 3.4)
    wall = numbers.whole(0, 4, (OPENINGS,))
    length = jnp.where(wall < 2, half[1], half[0])
    middle = numbers.uniform(-0.7, 0.7, (OPENINGS,)) * length
    reach = numbers.uniform(0.12, 0.45, (OPENINGS,)) * length
    door = numbers.chance(0.3, (OPENINGS,))
    low = jnp.where(door, -1, numbers.uniform(0.25, 0.45, (OPENINGS,)) * height)
    there = numbers.chance(0.4, (OPENINGS,))
    opening = jnp.stack([middle - reach, jnp.where(there, middle + reach, -jnp.inf), low, jnp.full_like(low, 0.8) * height], axis=-1)
    return Room(
        present=present,
        ceiling=numbers.chance(0.8),
        half=half,
        height=height,
        opening_wall=wall,
        opening=opening,
    )


def _sample_waves(numbers: Numbers, shortest: jax.Array, longest: jax.Array) -> Waves:
    angle = numbers.uniform(0, 2 * jnp.pi, (WAVES,))
    frequency = 1 / numbers.loguniform(shortest, longest, (WAVES,))
    weight = numbers.uniform(0.3, 1, (WAVES,))
    return Waves(
        frequency=frequency[:, None] * jnp.stack([jnp.cos(angle), jnp.sin(angle)], axis=-1),
        phase=numbers.uniform(0, 1, (WAVES,)),
        weight=weight / jnp.sum(weight),
    )


def _sample_backdrop(numbers: Numbers, size: jax.Array) -> Backdrop:
    radius = size * numbers.loguniform(12, 50)
    base = radius * numbers.uniform(0.005, 0.18)
    return Backdrop(radius, base, base * numbers.uniform(0.1, 0.9), _sample_waves(numbers, 0.06 * radius, 1.2 * radius))


def _sample_terrain(numbers: Numbers, indoor: jax.Array, size: jax.Array, radius: jax.Array) -> Terrain:
    hilly = ~indoor & numbers.chance(0.6)
    amplitude = jnp.where(hilly, size * numbers.uniform(0.1, 0.7), 0)
    return Terrain(amplitude, 0.9 * radius, _sample_waves(numbers, 5 * size, 16 * size))
