"""Rigid transforms as (..., 3, 4) or (..., 4, 4) matrices."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from da3jax.geometry.safe import matmul


def check_rigid(transform: jax.Array) -> None:
    """Raises a ValueError for an array that is not (..., 3 or 4, 4); of a rotation alone the last column would be taken for a place."""
    if transform.shape[-2:] not in ((3, 4), (4, 4)):
        raise ValueError(f"a rigid transform has the shape {transform.shape}; it is (..., 3, 4) or (..., 4, 4)")


def invert_rigid(transform: jax.Array) -> jax.Array:
    """The inverse (..., 3, 4) of a rigid transform (..., 3 or 4, 4): world-to-camera from camera-to-world, and back.

    Raises:
        ValueError: a matrix of another shape, such as a rotation alone.
    """
    check_rigid(transform)
    rotation = jnp.swapaxes(transform[..., :3, :3], -1, -2)
    return jnp.concatenate([rotation, -matmul(rotation, transform[..., :3, 3:])], axis=-1)


def compose_rigid(first: jax.Array, *others: jax.Array) -> jax.Array:
    """The product (..., 3, 4) of transforms (..., 3 or 4, 4) as of matrices: the last one acts on points first."""
    product = jnp.asarray(first)[..., :3, :]
    for other in others:
        rotation, translation = product[..., :3], product[..., 3:]
        moved = matmul(rotation, other[..., :3, 3:]) + translation
        product = jnp.concatenate([matmul(rotation, other[..., :3, :3]), moved], axis=-1)
    return product


def transform_points(transform: jax.Array, points: jax.Array) -> jax.Array:
    """Points (*L, *any, 3) moved by affine transforms (*L, 3 or 4, 4): one transform for all the points behind the same leading axes.

    So (S, 3, 4) goes with (S, H, W, 3); axes of length one count for all.
    """
    lead = transform.ndim - 2
    flat = points.reshape(*points.shape[:lead], -1, 3)
    moved = matmul(flat, jnp.swapaxes(transform[..., :3, :3], -1, -2)) + transform[..., None, :3, 3]
    return moved.reshape(*moved.shape[:-2], *points.shape[lead:])


def rotation_defect(matrix: np.ndarray) -> np.ndarray:
    """How far matrices (..., 3, 3) are from rotations or reflections: the largest entry (...) of |R Rᵀ − I|, float64, in NumPy on the host.

    Infinite or NaN where a matrix is not finite.
    """
    matrix = matrix.astype(np.float64)
    with np.errstate(invalid="ignore", over="ignore"):
        return np.abs(matrix @ matrix.swapaxes(-1, -2) - np.eye(3)).max((-2, -1))


def relative_rounding(transforms: np.ndarray) -> float:
    """How far cameras in one place may lie apart by rounding alone, over the largest translation: a number without a unit.

    Of world-to-camera transforms or poses (..., 3 or 4, 4), in NumPy, on the host. The array's type tells, and rotations that are not
    quite ones: numbers may have been rounded before they became float64. Transforms that are not finite do not count. Both factors leave
    room for a product of two transforms.
    """
    off = rotation_defect(transforms[..., :3, :3])
    exact = transforms.dtype if transforms.dtype.kind == "f" else np.float64
    return float(max(16 * np.finfo(exact).eps, 4 * off.max(initial=0, where=np.isfinite(off))))


def to_homogeneous(transform: jax.Array) -> jax.Array:
    """Matrices (..., 4, 4) from (..., 3 or 4, 4), their last row 0 0 0 1."""
    last = jnp.zeros_like(transform[..., :1, :]).at[..., 3].set(1)
    return jnp.concatenate([transform[..., :3, :], last], axis=-2)
