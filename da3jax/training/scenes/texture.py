"""Procedural patterns in three dimensions, faded out where a pixel is wider than their detail."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from da3jax.training.scenes.scene import Vector, dot

PATTERNS = ("plain", "noise", "patches", "checker", "stripes", "tiles")
PLAIN, NOISE, PATCHES, CHECKER, STRIPES, TILES = range(len(PATTERNS))

OCTAVES = 4
_PRIMES = (0x8DA6B343, 0xD8163841, 0xCB1AB31F)  # of the spatial hash by Teschner and others, 2003, in 32 bits
_MIX = 0x7FEB352D  # of Chris Wellons' lowbias32


def pattern(
    kind: jax.Array, point: Vector, normal: Vector, frequency: jax.Array, direction: Vector, footprint: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """How much of a material's second colour is at a point, 0 to 1, and fine noise around 0.

    Args:
        kind: index into PATTERNS.
        point: in metres, on the surface.
        normal: there; tiles draw no joint across it.
        frequency: cells of the pattern a metre.
        direction: unit vector across stripes.
        footprint: metres that a pixel covers; a pattern finer than this is its mean.
    """
    cell = tuple(p * frequency for p in point)
    width = footprint * frequency
    coarse, fine = noise(cell, width)
    seen = jnp.clip(1.5 - 2 * width, 0, 1)  # of a pattern with one cell a unit
    edge = jnp.maximum(width, 0.02)

    steps = [_square_wave(c, edge) for c in cell]
    checker = steps[0] * steps[1] * steps[2]
    stripes = _square_wave(2 * dot(cell, direction) + coarse, 2 * edge)
    joints = jnp.zeros_like(width)
    for c, n in zip(cell, normal, strict=True):
        gap = jnp.abs(c - jnp.round(c))
        joints = jnp.maximum(joints, jnp.where(jnp.abs(n) < 0.8, jnp.clip((0.04 - gap) / edge + 0.5, 0, 1), 0))
    mixes = {
        PLAIN: jnp.zeros_like(width),
        NOISE: jnp.clip(0.5 + 1.2 * (coarse + fine), 0, 1),
        PATCHES: jnp.clip(0.5 + (coarse + fine) / (0.05 + width), 0, 1),
        CHECKER: 0.5 + 0.5 * seen * checker,
        STRIPES: 0.5 + 0.5 * seen * stripes,
        TILES: joints * seen,
    }
    mix = mixes[PLAIN]
    for number, value in mixes.items():
        mix = jnp.where(kind == number, value, mix)
    return mix, fine


def noise(point: Vector, width: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Smooth noise around 0 of cells of one unit and, apart from it, of finer ones; octaves finer than `width` fade out."""
    octaves = []
    for octave in range(OCTAVES):
        scale = 2.0**octave * (1 + 0.03 * octave)  # so that lattice points of octaves do not coincide
        value = _value_noise(tuple(scale * p + 17.3 * octave for p in point), octave)
        octaves.append(value * jnp.clip(1.5 - 2 * width * scale, 0, 1) * 0.62**octave)
    return octaves[0], sum(octaves[1:])


def _value_noise(point: Vector, seed: int) -> jax.Array:
    """Random values on the integer lattice, −1 to 1, and smoothly between them."""
    corner = [jnp.floor(p) for p in point]
    weight = [p - c for p, c in zip(point, corner, strict=True)]
    weight = [w * w * (3 - 2 * w) for w in weight]
    near = [c.astype(jnp.int32).astype(jnp.uint32) * jnp.uint32(prime) for c, prime in zip(corner, _PRIMES, strict=True)]
    far = [n + jnp.uint32(prime) for n, prime in zip(near, _PRIMES, strict=True)]

    def value(x: jax.Array, y: jax.Array, z: jax.Array) -> jax.Array:
        bits = x ^ y ^ z ^ jnp.uint32(0x9E3779B9 * (seed + 1) & 0xFFFFFFFF)
        bits = (bits ^ (bits >> 15)) * jnp.uint32(_MIX)
        bits = bits ^ (bits >> 16)
        return bits.astype(jnp.int32).astype(jnp.float32) * (1 / 2.0**31)

    def between(a: jax.Array, b: jax.Array, w: jax.Array) -> jax.Array:
        return a + w * (b - a)

    rows = [between(value(near[0], y, z), value(far[0], y, z), weight[0]) for z in (near[2], far[2]) for y in (near[1], far[1])]
    return between(between(rows[0], rows[1], weight[1]), between(rows[2], rows[3], weight[1]), weight[2])


def _square_wave(x: jax.Array, edge: jax.Array) -> jax.Array:
    """1 and −1 by turns, one unit each, over edges of width `edge`."""
    within = jnp.abs(x / 2 - jnp.round(x / 2)) * 4 - 1  # a triangle, slope 2
    return jnp.clip(within / (2 * edge), -1, 1)


def srgb(linear: jax.Array) -> jax.Array:
    """Linear light, cut to 0 to 1, in sRGB's encoding."""
    x = jnp.clip(linear, 0, 1)
    return jnp.where(x <= 0.0031308, 12.92 * x, 1.055 * jnp.maximum(x, 0.0031308) ** (1 / 2.4) - 0.055)
