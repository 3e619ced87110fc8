"""Seven numbers a view, refined on all its rays: the nonlinear least squares behind `ray_solver`."""

from __future__ import annotations

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax import lax

from da3jax.geometry.rotations import matrix_from_quaternion

Rays = tuple[jax.Array, jax.Array, jax.Array]
"""Points of the image plane (3, n), unit directions (S, 3, n), weights (S, n)."""

_BLOCK = 2048
"""Rays whose Jacobian stays in the cache."""


class Camera(NamedTuple):
    """One view's unknowns: rotation (3, 3), log focal lengths (2,), principal point (2,)."""

    rotation: jax.Array
    log_focal: jax.Array
    principal_point: jax.Array

    def moved(self, step: jax.Array) -> Camera:
        """By (7,): a turn about the camera's axes, then the others."""
        turn = matrix_from_quaternion(jnp.append(step[:3] / 2, 1))  # smooth, unlike an angle, at no turn
        return Camera(self.rotation @ turn, self.log_focal + step[3:5], self.principal_point + step[5:])

    def directions(self, points: jax.Array) -> jax.Array:
        """Unit directions (3, n), in the camera's frame, of points (3, n) of the image plane."""
        x, y = (points[:2] - self.principal_point[:, None]) * jnp.exp(-self.log_focal)[:, None]
        z = 1 / jnp.sqrt(1 + x * x + y * y)
        return jnp.stack([x * z, y * z, z])


def refined(camera: Camera, rays: Rays, steps: int, mode: str, inlier_angle: float, ok: jax.Array) -> Camera:
    """Gauss-Newton steps with weights of the moment, all views of a scene together."""

    def step(_, camera):
        normal = jax.vmap(partial(_normal_equations, inlier_angle=inlier_angle), in_axes=(0, None, 0, 0))
        return jax.vmap(Camera.moved)(camera, _coupled(*normal(camera, *rays), mode, ok))

    return lax.fori_loop(0, steps, step, camera)


def _normal_equations(camera: Camera, points: jax.Array, directions: jax.Array, weights: jax.Array, inlier_angle: float):
    """JᵀWJ (7, 7) and JᵀWr (7,) over all rays, some at a time, for their Jacobian to stay in the cache."""
    count = points.shape[-1]
    size = min(count, _BLOCK)
    blocks = -(-count // size)

    def blocked(x: jax.Array) -> jax.Array:
        padded = jnp.pad(x, [(0, 0)] * (x.ndim - 1) + [(0, blocks * size - count)])
        return jnp.moveaxis(padded.reshape(*x.shape[:-1], blocks, size), -2, 0)

    def add(sums, rays):
        return jax.tree.map(jnp.add, sums, _block_equations(camera, *rays, inlier_angle)), None

    nothing = (jnp.zeros((7, 7), weights.dtype), jnp.zeros(7, weights.dtype))
    return lax.scan(add, nothing, (blocked(points), blocked(directions), blocked(weights)))[0]


def _block_equations(camera: Camera, points: jax.Array, directions: jax.Array, weights: jax.Array, inlier_angle: float):
    """The same of some rays: chords between the model's directions and the rays, in the camera's frame."""
    seen = camera.rotation.T @ directions
    aim = camera.directions(points)
    residual = aim - seen
    weights = weights / jnp.square(1 + jnp.sum(residual * residual, axis=0) / inlier_angle**2)
    (x, y, z), (u, v, w) = seen, aim
    zero = jnp.zeros_like(x)
    by_x, by_y = (jnp.stack(slope) * w[None] for slope in ([1 - u * u, -u * v, -u * w], [-u * v, 1 - v * v, -v * w]))  # x/z, y/z
    jacobian = jnp.stack(
        [
            *(jnp.stack(turn) for turn in ([zero, -z, y], [z, zero, -x], [-y, x, zero])),
            -(u / w)[None] * by_x,
            -(v / w)[None] * by_y,
            -jnp.exp(-camera.log_focal[0]) * by_x,
            -jnp.exp(-camera.log_focal[1]) * by_y,
        ]
    )  # (7, 3, n)
    weighted = (jacobian * weights[None, None]).reshape(7, -1)
    return weighted @ jacobian.reshape(7, -1).T, weighted @ residual.reshape(-1)


def _coupled(normal: jax.Array, gradient: jax.Array, mode: str, ok: jax.Array) -> jax.Array:
    """Newton steps (S, 7) from (S, 7, 7) and (S, 7): principal points free, all moving alike, or not at all."""
    eye = jnp.eye(7, dtype=normal.dtype)
    ridge = 4 * jnp.finfo(normal.dtype).eps * jnp.trace(normal, axis1=-2, axis2=-1)[:, None, None]
    normal = jnp.where(ok[:, None, None], normal + ridge * eye[None], eye[None])
    gradient = jnp.where(ok[:, None], gradient, 0)
    if mode == "free":
        return -jnp.linalg.solve(normal, gradient[..., None])[..., 0]
    own, cross, common = normal[:, :5, :5], normal[:, :5, 5:], normal[:, 5:, 5:]
    # Two solutions, not one: the derivative's transpose has to see that only the first depends on the gradient.
    step, response = -jnp.linalg.solve(own, gradient[:, :5, None])[..., 0], jnp.linalg.solve(own, cross)
    shift = jnp.zeros(2, normal.dtype)
    if mode == "shared":  # eliminate each view's own five, sum what is left
        left = jnp.where(ok[:, None, None], common - jnp.swapaxes(cross, -1, -2) @ response, 0).sum(axis=0)
        right = jnp.where(ok[:, None], gradient[:, 5:] + (jnp.swapaxes(cross, -1, -2) @ step[..., None])[..., 0], 0).sum(axis=0)
        shift = -jnp.linalg.solve(left + jnp.where(ok.any(), 0, 1) * jnp.eye(2, dtype=left.dtype), right)
    step = jnp.where(ok[:, None], step - response @ shift, 0)
    return jnp.concatenate([step, jnp.broadcast_to(jnp.where(ok[:, None], shift[None], 0), (len(step), 2))], axis=-1)


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
    hessian = jax.vmap(jax.hessian(loss))(here, camera, directions, weights)
    gradient = partial(jax.vmap(jax.grad(loss)), here, camera)
    _, moved = jax.jvp(gradient, (directions, weights), tangents[3:])
    return here, _coupled(hessian, moved, mode, ok)


def squared_chords(camera: Camera, points: jax.Array, directions: jax.Array) -> jax.Array:
    """(n,) between model and rays: near zero the square of the angle, and exact where the cosine is not."""
    return jnp.sum(jnp.square(camera.directions(points) - camera.rotation.T @ directions), axis=0)
