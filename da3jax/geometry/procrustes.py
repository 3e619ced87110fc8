"""The nearest rotation, with derivatives where those of the singular value decomposition do not exist."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from da3jax.geometry.safe import matmul, matrix_of


@jax.custom_jvp
def project_to_rotation(matrix: jax.Array) -> jax.Array:
    """The rotation (..., 3, 3) nearest to matrices (..., 3, 3) in the Frobenius norm; it maximises trace(rotationᵀ · matrix).

    Any matrix has one; `rotation_gap` says how well it is determined. Derivatives are exact, at equal singular values too, and 0
    where the rotation is not determined.
    """
    u, _, vt = jnp.linalg.svd(matrix)
    sign = jnp.where(jnp.linalg.det(matmul(u, vt)) < 0, -1, 1).astype(u.dtype)[..., None, None]
    return matmul(jnp.concatenate([u[..., :2], u[..., 2:] * sign], axis=-1), vt)


@project_to_rotation.defjvp
def _(primals, tangents):
    """With matrix = R P, P symmetric, and dR = R Ω, Ω skew: Ω P + P Ω = Rᵀ dM − dMᵀ R, that is (tr P · 1 − P) ω = its axis."""
    (matrix,), (tangent,) = primals, tangents
    rotation = project_to_rotation(matrix)
    transposed = jnp.swapaxes(rotation, -1, -2)
    stretch, twist = matmul(transposed, matrix), matmul(transposed, tangent)
    size = jax.lax.stop_gradient(jnp.max(jnp.abs(matrix), axis=(-2, -1), keepdims=True))  # it cancels: only against underflow
    size = jnp.where(size > 0, size, 1)
    stretch = (stretch + jnp.swapaxes(stretch, -1, -2)) / (2 * size)
    trace = jnp.trace(stretch, axis1=-2, axis2=-1)[..., None, None]
    a, b, c = jnp.moveaxis(trace * jnp.eye(3, dtype=stretch.dtype).reshape(*(1,) * (stretch.ndim - 2), 3, 3) - stretch, -1, 0)
    adjugate = jnp.stack([jnp.cross(b, c), jnp.cross(c, a), jnp.cross(a, b)], axis=-2)
    determinant = jnp.sum(a * adjugate[..., 0, :], axis=-1, keepdims=True)  # the product of the sums of two singular values
    determined = determinant > 32 * jnp.finfo(stretch.dtype).eps
    skew = (twist - jnp.swapaxes(twist, -1, -2)) / size
    axis = jnp.stack([skew[..., 2, 1], skew[..., 0, 2], skew[..., 1, 0]], axis=-1)
    x, y, z = jnp.moveaxis(
        jnp.where(determined, matmul(adjugate, axis[..., None])[..., 0] / jnp.where(determined, determinant, 1), 0), -1, 0
    )
    zero = jnp.zeros_like(x)
    rows = [[zero, -z, y], [z, zero, -x], [-y, x, zero]]
    return rotation, matmul(rotation, matrix_of(rows))


def rotation_gap(matrix: jax.Array) -> jax.Array:
    """How well matrices (..., 3, 3) determine their nearest rotation: (σ₂ ± σ₃) / σ₁, from 0, where many are equally near, to 2.

    The sign is the determinant's. For a covariance of two sets of points on a plane this is the square of their spread across the longest
    line through them, in units of the spread along it. No gradient.
    """
    matrix = jax.lax.stop_gradient(matrix)
    largest, middle, smallest = jnp.moveaxis(jnp.linalg.svd(matrix, compute_uv=False), -1, 0)
    smallest = jnp.where(jnp.linalg.det(matrix) < 0, -smallest, smallest)
    return jnp.where(largest > 0, (middle + smallest) / jnp.where(largest > 0, largest, 1), 0)
