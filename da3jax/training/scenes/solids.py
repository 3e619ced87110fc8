"""Rays against boxes, ellipsoids and cylinders, each in the axes of the solid, where it is [−1, 1]³ or of radius 1."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp

from da3jax.training.scenes.scene import BOXES, SPHERES, Solids, Vector, columns, dot, times

_NEVER = jnp.inf
_TINY = 1e-12


def nearest_solid(solids: Solids, origin: Vector, direction: Vector) -> tuple[jax.Array, jax.Array]:
    """The least t ≥ 0 at which origin + t · direction enters a solid, and which solid; infinity and −1 for none.

    A solid that the ray starts in is not seen.
    """
    t, index = jnp.full_like(direction[0], _NEVER), jnp.full_like(direction[0], -1, jnp.int32)
    for first, last, entry in ((0, BOXES, _box), (BOXES, BOXES + SPHERES, _sphere), (BOXES + SPHERES, None, _cylinder)):
        group = jax.tree.map(lambda x, first=first, last=last: x[first:last], solids)
        t, index = _scan(entry, group, first, origin, direction, (t, index))
    return t, index


def _scan(entry: Callable, group: Solids, first: int, origin: Vector, direction: Vector, best: tuple) -> tuple:
    def body(best: tuple, item: tuple) -> tuple:
        number, centre, to_own = item
        own = times(to_own, tuple(o - c for o, c in zip(origin, columns(centre), strict=True))), times(to_own, direction)
        t = entry(*own)
        nearer = (t >= 0) & (t < best[0])
        return (jnp.where(nearer, t, best[0]), jnp.where(nearer, number, best[1])), None

    to_own = jnp.swapaxes(group.rotation, -1, -2) / group.half[..., None]
    numbers = first + jnp.arange(group.centre.shape[0], dtype=jnp.int32)
    return jax.lax.scan(body, best, (numbers, group.centre, to_own))[0]


def surface_of_solid(solids: Solids, index: jax.Array, point: Vector) -> tuple[Vector, Vector, Vector]:
    """Of points on the surfaces of solids `index`: the outward unit normal, and in the solid's axes the point in metres and its normal."""
    rotation, centre, half = solids.rotation[index], columns(solids.centre[index]), columns(solids.half[index])
    back = [columns(rotation[..., i]) for i in range(3)]
    metres = tuple(dot(axis, tuple(p - c for p, c in zip(point, centre, strict=True))) for axis in back)
    x, y, z = (m / h for m, h in zip(metres, half, strict=True))
    box = _largest_only(x, y, z)
    cap = jnp.abs(z) > jnp.sqrt(x * x + y * y)
    cylinder = jnp.where(cap, 0, x), jnp.where(cap, 0, y), jnp.where(cap, z, 0)
    is_box, is_sphere = index < BOXES, index < BOXES + SPHERES
    normal = tuple(jnp.where(is_box, b, jnp.where(is_sphere, s, c)) / h for b, s, c, h in zip(box, (x, y, z), cylinder, half, strict=True))
    own = normalized(normal)
    return times(rotation, own), metres, own


def normalized(v: Vector) -> Vector:
    scale = jax.lax.rsqrt(dot(v, v) + _TINY)
    return tuple(x * scale for x in v)


def nonzero(x: jax.Array) -> jax.Array:
    """x, kept from zero, so that a ray along a plane meets it far away rather than nowhere."""
    return jnp.where(jnp.abs(x) < _TINY, _TINY, x)


def _largest_only(x: jax.Array, y: jax.Array, z: jax.Array) -> Vector:
    ax, ay, az = jnp.abs(x), jnp.abs(y), jnp.abs(z)
    on_x, on_y = (ax >= ay) & (ax >= az), (ay > ax) & (ay >= az)
    return jnp.where(on_x, x, 0), jnp.where(on_y, y, 0), jnp.where(on_x | on_y, 0, z)


def _slab(o: jax.Array, d: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Where a ray enters and leaves |x| ≤ 1."""
    inverse = 1 / nonzero(d)
    middle, extent = -o * inverse, jnp.abs(inverse)
    return middle - extent, middle + extent


def _box(origin: Vector, direction: Vector) -> jax.Array:
    (enter_x, leave_x), (enter_y, leave_y), (enter_z, leave_z) = map(_slab, origin, direction)
    enter = jnp.maximum(jnp.maximum(enter_x, enter_y), enter_z)
    return jnp.where(enter < jnp.minimum(jnp.minimum(leave_x, leave_y), leave_z), enter, _NEVER)


def _sphere(origin: Vector, direction: Vector) -> jax.Array:
    # From the point of the ray that is closest to the centre: far away, the usual discriminant would cancel.
    square = dot(direction, direction)
    closest = -dot(origin, direction) / square
    foot = tuple(o + closest * d for o, d in zip(origin, direction, strict=True))
    inside = 1 - dot(foot, foot)
    return jnp.where(inside > 0, closest - jnp.sqrt(jnp.maximum(inside, 0) / square), _NEVER)


def _cylinder(origin: Vector, direction: Vector) -> jax.Array:
    (ox, oy, oz), (dx, dy, dz) = origin, direction
    square = dx * dx + dy * dy + _TINY
    closest = -(ox * dx + oy * dy) / square
    fx, fy = ox + closest * dx, oy + closest * dy
    inside = 1 - fx * fx - fy * fy
    extent = jnp.sqrt(jnp.maximum(inside, 0) / square)
    enter_z, leave_z = _slab(oz, dz)
    enter = jnp.maximum(closest - extent, enter_z)
    return jnp.where((inside > 0) & (enter < jnp.minimum(closest + extent, leave_z)), enter, _NEVER)
