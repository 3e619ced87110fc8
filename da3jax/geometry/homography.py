"""The 3 × 3 matrix that takes points of the image plane to directions of rays, by linear least squares."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

_PAIRS = np.array([(0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)])
_INDEX = np.array([[0, 1, 2], [1, 3, 4], [2, 4, 5]])
"""Where element (i, k) of a symmetric 3 × 3 matrix stands among its six."""


def image_plane(height: int, width: int) -> np.ndarray:
    """Pixel centres (height, width, 3) of the canonical image plane, which spans [−1, 1] on both axes: (x, y, 1)."""
    x, y = ((2 * np.arange(n) + 1 - n) / n for n in (width, height))
    return np.stack([*np.meshgrid(x, y), np.ones((height, width))], axis=-1)


def homography(points: jax.Array, directions: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
    """M that minimises Σ w ‖d × M p‖² over matrices of norm 1: the direct linear transformation.

    It is an eigenproblem of nine numbers, whose matrix is one product of (6, n) with (n, 6). Points within [−1, 1] and unit directions
    make it as good as the singular values of all rays.

    Args:
        points: (3, n) in homogeneous coordinates.
        directions: (3, n) of length one.
        weights: (n,) at least 0.

    Returns:
        (3, 3), with Σ w d·Mp ≥ 0; and how well it is determined, from 0: the smallest but one eigenvalue over the largest.
    """
    i, k = _PAIRS.T
    across = jnp.eye(3, dtype=directions.dtype)[i, k][:, None] - directions[i] * directions[k]
    moments = (across * weights[None]) @ (points[i] * points[k]).T
    normal = moments[_INDEX[:, None, :, None], _INDEX[None, :, None, :]].reshape(9, 9)
    values, vectors = jnp.linalg.eigh(normal)
    matrix = vectors[:, 0].reshape(3, 3)
    facing = jnp.sum(weights * jnp.sum(directions * (matrix @ points), axis=0))
    return jnp.where(facing < 0, -matrix, matrix), values[1] / jnp.maximum(values[-1], jnp.finfo(values.dtype).tiny)


def homographies_of_four(points: np.ndarray, directions: jax.Array) -> jax.Array:
    """M (k, 3, 3) that takes each of four points exactly to its direction, up to positive factors; singular where three are in a plane.

    Args:
        points: (3, k, 4), constants.
        directions: (3, k, 4).
    """
    p, d = (x.transpose(1, 0, 2) for x in (points, directions))  # columns are points
    three = p[:, :, :3].astype(float)
    inverse = np.linalg.inv(np.where(np.abs(np.linalg.det(three))[:, None, None] > 1e-9, three, np.eye(3)))  # a map may be one row
    share = inverse @ p[:, :, 3:]  # the fourth point in terms of the others
    # Rows of the inverse of the first three directions, times their determinant.
    cross = jnp.stack([jnp.cross(d[:, :, (i + 1) % 3], d[:, :, (i + 2) % 3]) for i in range(3)], axis=1)
    weight = (cross @ d[:, :, 3:])[..., 0] * jnp.sign(jnp.sum(cross[:, 0] * d[:, :, 0], axis=-1))[:, None]
    return (d[:, :, :3] * (weight / share[..., 0].astype(d.dtype))[:, None]) @ inverse.astype(d.dtype)


def decompose(matrix: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """M = s · R · K⁻¹ with s > 0, exact for any principal point: Gram-Schmidt on the columns, for K⁻¹ is upper triangular.

    Returns:
        R (3, 3), whose determinant has the sign of M's; focal lengths (2,) and principal point (2,) in half image sizes.
    """
    a, b, c = matrix.T
    x = a / jnp.linalg.norm(a)
    along = b @ x
    b = b - along * x
    y = b / jnp.linalg.norm(b)
    z = jnp.cross(x, y)
    z = jnp.where(c @ z < 0, -z, z)
    scale = c @ z
    fx, fy = scale / jnp.linalg.norm(a), scale / jnp.linalg.norm(b)
    cy = -(c @ y) / scale * fy
    cx = -(c @ x + along * cy) / scale * fx
    return jnp.stack([x, y, z], axis=-1), jnp.stack([fx, fy]), jnp.stack([cx, cy])
