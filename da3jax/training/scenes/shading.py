"""The colour of what a ray meets: pattern, one light with shadows, light from all around, highlights, haze; and the sky."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from da3jax.training.scenes.cast import surface_at
from da3jax.training.scenes.scene import SKY, Scene, Vector, along, columns, dot, take
from da3jax.training.scenes.solids import nearest_solid, normalized
from da3jax.training.scenes.texture import pattern, srgb

_SKY_CELLS = 3.0
"""Cells of the clouds' noise over one unit of the direction."""


def shade(scene: Scene, origin: Vector, direction: Vector, t: jax.Array, surface: jax.Array, footprint: jax.Array) -> tuple[Vector, Vector]:
    """SRGB colour and unit normal (0 in the sky) in the world of where rays end; `footprint` is what a pixel covers at t = 1."""
    sky = surface == SKY
    distance = jnp.where(sky, 0, t)
    point = along(origin, distance, direction)
    normal, own_point, own_normal = surface_at(scene, surface, point)
    view = normalized(direction)

    material = take(scene.materials, surface)
    across = [p + offset for p, offset in zip(own_point, columns(material.offset), strict=True)]
    # The sky's pattern is drawn on the direction. One call for both: noise is the dearest part.
    across = tuple(jnp.where(sky, _SKY_CELLS * v / (0.3 + jnp.abs(view[2])), a) for v, a in zip(view, across, strict=True))
    width = jnp.where(sky, _SKY_CELLS * footprint, footprint * distance)
    mix, fine = pattern(material.pattern, across, own_normal, material.frequency, columns(material.direction), width)
    brightness = 1 + material.grain * fine
    first, second = columns(material.first), columns(material.second)

    direct, highlight = _light_of(scene, point, normal, view, surface)
    light = scene.light
    horizon = 1 - jnp.clip(jnp.abs(view[2]) * 2.5, 0, 1)
    clear = jnp.exp(-distance * jnp.sqrt(dot(direction, direction)) / light.haze)
    colour = []
    for i in range(3):
        ambient = light.ambient[i] * (0.75 + 0.25 * normal[2])
        albedo = (first[i] + mix * (second[i] - first[i])) * brightness
        lit = albedo * (ambient + light.colour[i] * direct) + light.colour[i] * material.gloss * highlight
        haze = scene.materials.second[SKY, i]
        above = first[i] + (haze - first[i]) * horizon
        above = above + mix * material.grain * (1 - above)
        colour.append(srgb(jnp.where(sky, above, lit * clear + haze * (1 - clear))))
    return tuple(colour), normal


def _light_of(scene: Scene, point: Vector, normal: Vector, view: Vector, surface: jax.Array) -> tuple[jax.Array, jax.Array]:
    """How much of the light reaches a point, cosine and shadow included, and the highlight that the viewer sees."""
    light = scene.light
    path = tuple(jnp.where(light.sun, p, p - q) for p, q in zip(columns(light.position), point, strict=True))
    square = dot(path, path)
    towards = normalized(path)
    facing = jnp.maximum(dot(normal, towards), 0)
    # Starts off the surface, which would shadow itself by rounding; of a solid the exit is not seen, so this may be little.
    start = tuple(p + 2e-3 * scene.size * n for p, n in zip(point, normal, strict=True))
    blocker, _ = nearest_solid(scene.solids, start, path)
    lit = (blocker > jnp.where(light.sun, jnp.inf, 1.0)) | jnp.isinf(blocker)
    falloff = jnp.where(light.sun, 1, 2 / (1 + square / (light.reach * light.reach)))
    amount = jnp.where(lit, falloff, 0)
    halfway = normalized(tuple(a - v for a, v in zip(towards, view, strict=True)))
    cosine = jnp.maximum(dot(normal, halfway), 0)
    for _ in range(5):  # to the power of 32
        cosine = cosine * cosine
    return facing * amount, cosine * amount * (facing > 0)
