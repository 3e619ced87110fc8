"""Seven numbers a view, refined on all its rays: the nonlinear least squares behind `ray_solver`."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from da3jax.geometry.rotations import matrix_from_quaternion
from da3jax.geometry.safe import safe_divide, safe_norm, safe_normalize

_BLOCK = 16384
"""Rays whose Jacobian is in memory at a time."""
_UNDECIDED = 8.0
"""χ² of a principal point at which it goes half the way to the image centre; that of centred cameras is larger in e⁻⁴ of all cases."""

_ROUNDING = 16.0
"""Of a sum over rays, in units of the last place."""

Rays = tuple[jax.Array, jax.Array, jax.Array]
"""Points of the image plane (3, n), unit directions (S, 3, n), weights (S, n)."""


class Camera(NamedTuple):
    """One view's unknowns: rotation (3, 3), log focal lengths (2,), principal point (2,)."""

    rotation: jax.Array
    log_focal: jax.Array
    principal_point: jax.Array

    def moved(self, step: jax.Array) -> Camera:
        """By (7,): a turn about the camera's axes, then the others."""
        turn = matrix_from_quaternion(jnp.append(step[:3] / 2, 1))  # smooth, unlike an angle, at no turn
        return Camera(self.rotation @ turn, self.log_focal + step[3:5], self.principal_point + step[5:])

    def directions(self, points: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Unit directions, (n,) thrice, in the camera's frame, of points (3, n) of the image plane."""
        x, y = (points[:2] - self.principal_point[:, None]) * jnp.exp(-self.log_focal)[:, None]
        z = 1 / jnp.sqrt(1 + x * x + y * y)
        return x * z, y * z, z

    def chords(self, points: jax.Array, directions: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
        """Model minus rays (3, n), (n,) thrice, in the camera's frame."""
        return tuple(aim - seen for aim, seen in zip(self.directions(points), self.rotation.T @ directions, strict=True))


def inner(one: Sequence[jax.Array], other: Sequence[jax.Array]) -> jax.Array:
    """Product of vectors of three arrays each: a sum that a compiler fuses with what is around it, unlike a reduction."""
    return one[0] * other[0] + one[1] * other[1] + one[2] * other[2]


def refined(camera: Camera, rays: Rays, steps: int, mode: str, inlier_angle: float, ok: jax.Array) -> Camera:
    """Gauss-Newton steps with weights of the moment, all views of a scene together."""

    def step(_, camera):
        normal, gradient, *_ = jax.vmap(partial(_equations, inlier_angle=inlier_angle), in_axes=(0, None, 0, 0))(camera, *rays)
        change = _coupled(normal, gradient, mode, ok)
        return jax.vmap(Camera.moved)(camera, jnp.where(jnp.isfinite(change).all(axis=-1, keepdims=True), change, 0))

    return lax.fori_loop(0, steps, step, camera)


def _equations(camera: Camera, points: jax.Array, directions: jax.Array, weights: jax.Array, inlier_angle: float):
    """JᵀWJ (7, 7), JᵀWr (7,), rᵀWr, Σ w and Σ w² over all rays, with weights of the moment."""
    count = points.shape[-1]
    size = min(count, _BLOCK)
    blocks = -(-count // size)

    def blocked(x: jax.Array) -> jax.Array:
        padded = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, blocks * size - count)])
        return jnp.moveaxis(padded.reshape(*x.shape[:-1], blocks, size), -2, 0)

    def add(sums, rays):
        return jax.tree.map(jnp.add, sums, _block_equations(camera, *rays, inlier_angle)), None

    nothing = tuple(jnp.zeros(shape, weights.dtype) for shape in ((8, 8), (), ()))
    products, total, squares = lax.scan(add, nothing, (blocked(points), blocked(directions), blocked(weights)))[0]
    return products[:7, :7], products[:7, 7], products[7, 7], total, squares


def _block_equations(camera: Camera, points: jax.Array, directions: jax.Array, weights: jax.Array, inlier_angle: float):
    """(J r)ᵀ W (J r) (8, 8), Σ w and Σ w² of some rays.

    r is the chord from a ray to the model's direction (u, v, w), in the camera's frame, along two axes across that direction,
    (q², −uv, −uw) / q and (0, w, −v) / q, where q² = 1 − u². So J depends on the pixel alone.
    """
    u, v, w = camera.directions(points)
    chord = camera.chords(points, directions)
    square = inner(chord, chord)
    weights = weights / jnp.square(1 + square / inlier_angle**2)
    q = jnp.sqrt(v * v + w * w)
    zero, (a, b) = jnp.zeros_like(u), jnp.exp(-camera.log_focal)
    # Three turns, two focal lengths, two coordinates of the principal point, and the chord itself.
    first = [zero, w / q, -v / q, -u * q, u * v * v / q, -a * w * q, b * u * v * w / q, (chord[0] - u * square / 2) / q]
    second = [-q, u * v / q, u * w / q, zero, -v * w / q, zero, -b * w * w / q, (w * chord[1] - v * chord[2]) / q]
    first, second = jnp.stack(first), jnp.stack(second)
    products = (first * weights[None]) @ first.T + (second * weights[None]) @ second.T
    return products, weights.sum(), jnp.sum(weights * weights)


def _regular(normal: jax.Array, ok: jax.Array) -> jax.Array:
    """(S, 7, 7) that have an inverse."""
    eye = jnp.eye(7, dtype=normal.dtype)
    ridge = 4 * jnp.finfo(normal.dtype).eps * jnp.trace(normal, axis1=-2, axis2=-1)[:, None, None]
    return jnp.where(ok[:, None, None], normal + ridge * eye[None], eye[None])


def _eliminated(normal: jax.Array) -> tuple[jax.Array, jax.Array]:
    """How the first five follow the principal point, with a minus sign (S, 5, 2), and what it is then weighted with (S, 2, 2)."""
    own, cross, common = normal[:, :5, :5], normal[:, :5, 5:], normal[:, 5:, 5:]
    response = jnp.linalg.solve(own, cross)
    return response, common - jnp.swapaxes(cross, -1, -2) @ response


def _coupled(normal: jax.Array, gradient: jax.Array, mode: str, ok: jax.Array) -> jax.Array:
    """Newton steps (S, 7) from (S, 7, 7) and (S, 7): principal points free, all moving alike, or not at all."""
    normal = _regular(normal, ok)
    gradient = jnp.where(ok[:, None], gradient, 0)
    if mode == "free":
        return -jnp.linalg.solve(normal, gradient[..., None])[..., 0]
    # Two solutions, not one: the derivative's transpose has to see that only the first depends on the gradient.
    step = -jnp.linalg.solve(normal[:, :5, :5], gradient[:, :5, None])[..., 0]
    response, left = _eliminated(normal)
    shift = jnp.zeros(2, normal.dtype)
    if mode == "shared":  # eliminate each view's own five, sum what is left
        left = jnp.where(ok[:, None, None], left, 0).sum(axis=0)
        right = gradient[:, 5:] + (jnp.swapaxes(normal[:, :5, 5:], -1, -2) @ step[..., None])[..., 0]
        right = jnp.where(ok[:, None], right, 0).sum(axis=0)
        shift = -jnp.linalg.solve(left + jnp.where(ok.any(), 0, 1) * jnp.eye(2, dtype=left.dtype), right)
    step = jnp.where(ok[:, None], step - response @ shift, 0)
    return jnp.concatenate([step, jnp.broadcast_to(jnp.where(ok[:, None], shift[None], 0), (len(step), 2))], axis=-1)


def settled(camera: Camera, rays: Rays, inlier_angle: float, ok: jax.Array) -> Camera:
    """Principal points nearer to the image centre, the less the rays tell them from it, and the other five as then fits best.

    A turn looks much like a shift of the principal point, so that what noise adds to the one it adds to the other. χ² = |p|² / σ² says how
    far the principal point p is off centre in terms of its error σ on the way there: that of noise, which residuals and weights tell, and
    that of rounding, as large as p itself where what is known is no more than rounding amounts to. p is multiplied by χ⁴ / (χ⁴ + 8²).
    That is 1 for exact rays of any but a narrow view, and for any camera that is clearly off centre; Stein's estimator, but smooth.
    """
    equations = jax.vmap(partial(_equations, inlier_angle=inlier_angle), in_axes=(0, None, 0, 0))
    normal, _, square, total, squares = equations(camera, *rays)
    # Regular with as little as rounding amounts to, for any one unknown's scale; that, and what rounding made of nothing, says nothing.
    eye, least = jnp.eye(7, dtype=normal.dtype), _ROUNDING * jnp.finfo(normal.dtype).eps
    response, left = _eliminated(jnp.where(ok[:, None, None], normal * (1 + least * eye[None]), eye[None]))
    own = jnp.diagonal(normal, axis1=-2, axis2=-1)[:, 5:]
    left = left - 2 * least * own[:, :, None] * jnp.eye(2, dtype=left.dtype)[None]
    total = jnp.where(ok, total, 1)
    # What JᵀWr varies by is JᵀWJ times this: a ray's variance along each of two axes, rounding included, by Σ w² / Σ w.
    noise = (square / total / 2 + jnp.finfo(square.dtype).eps ** 2) * jnp.where(ok, squares, 1) / total
    # χ² along the way to the centre, in units of what is known where no other unknown can be mistaken for it.
    most = jnp.where(ok, own.max(axis=-1), 1)
    way, far = safe_normalize(camera.principal_point), jnp.square(safe_norm(camera.principal_point))
    known = jnp.maximum(jnp.einsum("si,sij,sj->s", way, left, way) / most, 0)
    chi_square = safe_divide(far * known * known, noise / most * known + jnp.square(least / 8) * (1 + far))
    chi_square = jnp.minimum(chi_square, 1e12)  # its square, too, is a number
    shift = -camera.principal_point / (1 + jnp.square(chi_square / _UNDECIDED))[:, None]
    step = jnp.concatenate([-(response @ shift[..., None])[..., 0], shift], axis=-1)
    return jax.vmap(Camera.moved)(camera, step)


@partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def no_step(mode: str, inlier_angle: float, camera: Camera, ok: jax.Array, points: jax.Array, directions: jax.Array, weights: jax.Array):
    """Zeros (S, 7), whose derivative is how the minimum moves with the rays: −H⁻¹ ∂g, by the implicit function theorem."""
    return jnp.zeros((len(ok), 7), directions.dtype)


@no_step.defjvp
def no_step_jvp(mode: str, inlier_angle: float, primals: tuple, tangents: tuple):
    camera, ok, points, directions, weights = primals

    def loss(step, camera, directions, weights):
        moved = camera.moved(step)
        chord = squared_chords(moved, points, directions) / inlier_angle**2
        return inlier_angle**2 / 2 * jnp.sum(weights * chord / (1 + chord))

    here = jnp.zeros((len(ok), 7), directions.dtype)
    gradient = partial(jax.vmap(jax.grad(loss)), here, camera)
    with jax.default_matmul_precision("highest"):  # of a jitted solver this is traced when its own is over
        hessian = jax.vmap(jax.hessian(loss))(here, camera, directions, weights)
        _, moved = jax.jvp(gradient, (directions, weights), tangents[3:])
        return here, _coupled(hessian, moved, mode, ok)


def squared_chords(camera: Camera, points: jax.Array, directions: jax.Array) -> jax.Array:
    """(n,) between model and rays: near zero the square of the angle, and exact where the cosine is not."""
    chords = camera.chords(points, directions)
    return inner(chords, chords)
