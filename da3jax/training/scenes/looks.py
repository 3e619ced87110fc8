"""Random materials and light."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from da3jax.training.scenes.numbers import Numbers
from da3jax.training.scenes.scene import BACKDROP, CEILING, FLOOR, GROUND, SKY, SURFACES, WALL, Light, Materials, Room
from da3jax.training.scenes.texture import NOISE, PLAIN

_SHARES = (0.2, 0.26, 0.17, 0.09, 0.14, 0.14)
"""Of `texture.PATTERNS`, in their order."""
_OUTDOOR_GROUND = (0.03, 0.55, 0.27, 0.03, 0.02, 0.1)


def sample_materials(numbers: Numbers, indoor: jax.Array, size: jax.Array) -> Materials:
    """Materials of all surfaces: a palette of a few hues a scene, mostly pale as real ones are; walls of a room match."""
    hues = numbers.uniform(0, 1, (4,))
    hue = hues[numbers.whole(0, 4, (SURFACES, 2))] + 0.04 * numbers.normal((SURFACES, 2))
    saturation = numbers.uniform(0, 1, (SURFACES, 2)) ** 2 * 0.75
    value = numbers.uniform(0.12, 0.95, (SURFACES, 2))
    # The two colours of a pattern are told apart by brightness, whatever their hue.
    apart = jnp.abs(value[:, 0] - value[:, 1]) < 0.2
    value = value.at[:, 1].set(jnp.where(apart, jnp.where(value[:, 0] > 0.5, value[:, 0] - 0.35, value[:, 0] + 0.35), value[:, 1]))
    colour = _linear_from_hsv(hue, saturation, value)  # (M, 2, 3)

    contrast = numbers.uniform(0.3, 1, (SURFACES, 1))
    colour = colour.at[:, 1].set(colour[:, 0] + contrast * (colour[:, 1] - colour[:, 0]))
    kind = numbers.choice(_SHARES, (SURFACES,))
    outdoors = numbers.choice(_OUTDOOR_GROUND, (SURFACES,))
    natural = jnp.zeros(SURFACES, bool).at[jnp.array([GROUND, BACKDROP])].set(True)
    kind = jnp.where(natural, outdoors, kind)
    materials = Materials(
        first=colour[:, 0],
        second=colour[:, 1],
        pattern=kind,
        frequency=numbers.loguniform(1.2, 9, (SURFACES,)) / size,
        offset=numbers.uniform(-20, 20, (SURFACES, 3)),
        direction=_unit(numbers.normal((SURFACES, 3))),
        grain=jnp.where(kind == PLAIN, 0.06, 0.45) * numbers.uniform(0, 1, (SURFACES,)),
        gloss=jnp.maximum(numbers.uniform(-0.35, 0.35, (SURFACES,)), 0),
    )
    return _surroundings(numbers, materials, indoor, size)


def _surroundings(numbers: Numbers, materials: Materials, indoor: jax.Array, size: jax.Array) -> Materials:
    """Walls alike but for their offsets and, sometimes, one; a pale ceiling; ground, hills and sky in their own ranges."""
    accent = jnp.where(numbers.chance(0.4), numbers.whole(WALL, CEILING), 0)
    source = jnp.arange(SURFACES)
    source = jnp.where((source > WALL) & (source < CEILING) & (source != accent), WALL, source)
    offset = materials.offset
    materials = jax.tree.map(lambda x: x[source], materials)
    first, second = materials.first, materials.second
    pale = 0.5 + 0.5 * first[CEILING]
    hill = _linear_from_hsv(numbers.uniform(0.08, 0.45, (2,)), numbers.uniform(0.1, 0.5, (2,)), numbers.uniform(0.2, 0.6, (2,)))
    zenith = _linear_from_hsv(numbers.uniform(0.53, 0.65), numbers.uniform(0.03, 0.75), numbers.uniform(0.55, 0.95))
    haze = 0.35 * zenith + 0.65 * jnp.max(zenith)
    coarse = materials.frequency.at[BACKDROP].multiply(0.35)
    return Materials(
        first=first.at[CEILING].set(pale).at[BACKDROP].set(hill[0]).at[SKY].set(zenith),
        second=second.at[BACKDROP].set(hill[1]).at[SKY].set(haze),
        pattern=materials.pattern.at[SKY].set(NOISE),
        frequency=coarse.at[GROUND].multiply(jnp.where(indoor, 1, 0.6)).at[SKY].set(1),
        offset=offset,
        direction=materials.direction,
        grain=materials.grain.at[SKY].set(numbers.uniform(0, 1)),
        gloss=materials.gloss.at[jnp.array([SKY, GROUND, BACKDROP])].set(0).at[FLOOR].multiply(0.5),
    )


def sample_light(numbers: Numbers, room: Room, size: jax.Array, backdrop: jax.Array) -> Light:
    """A lamp below a ceiling, else the sun; warm or cold, hard or soft, and haze outdoors."""
    lamp = jnp.concatenate([numbers.uniform(-0.7, 0.7, (2,)) * room.half, room.height[None] * numbers.uniform(0.75, 0.97)])
    azimuth, elevation = numbers.uniform(0, 2 * jnp.pi), jnp.radians(numbers.uniform(22, 75))
    sun = jnp.stack([jnp.cos(azimuth) * jnp.cos(elevation), jnp.sin(azimuth) * jnp.cos(elevation), jnp.sin(elevation)])
    indoors = room.present & room.ceiling
    warmth = numbers.uniform(-0.15, 0.25)
    tint = jnp.stack([1 + warmth, jnp.ones_like(warmth), 1 - warmth])
    hard = numbers.uniform(0.3, 0.8)  # share of the light that comes from one side
    exposure = numbers.uniform(0.95, 1.5)
    return Light(
        position=jnp.where(indoors, lamp, sun),
        sun=~indoors,
        colour=exposure * hard * tint * 1.25,
        ambient=exposure * (1 - hard) * (2 - tint),
        reach=numbers.uniform(0.5, 1.2) * jnp.where(indoors, jnp.max(room.half), size),
        haze=backdrop * numbers.loguniform(1.5, 30),
    )


def _unit(x: jax.Array) -> jax.Array:
    return x / jnp.linalg.norm(x, axis=-1, keepdims=True)


def _linear_from_hsv(hue: jax.Array, saturation: jax.Array, value: jax.Array) -> jax.Array:
    """Linear RGB (..., 3) of hue (in turns), saturation and value of sRGB; 2.2 is near enough to its curve."""
    turn = jnp.stack([hue, hue + 2 / 3, hue + 1 / 3], axis=-1)
    ramp = jnp.clip(jnp.abs((turn - jnp.floor(turn)) * 6 - 3) - 1, 0, 1)
    return (value[..., None] * (1 - saturation[..., None] * (1 - ramp))) ** 2.2
