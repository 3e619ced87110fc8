"""The official camera-from-rays solver, for comparison: RANSAC over homographies, a weighted refit, and a QL decomposition.

It is right for a centred principal point only. Of an off-centre one it makes a rotation that is wrong by about
atan(|principal point| / focal length).
"""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax import lax

from da3jax.geometry.homography import image_plane

TRIES, SAMPLE = 100, 8
THRESHOLD = 0.2
MAX_REFIT = 8000


def sample_indices(key: jax.Array, height: int, width: int) -> jax.Array:
    """Ranks (100, 8) by confidence of the rays that each try is made of, out of the 30 % most confident; the same for all views."""
    candidates = max(SAMPLE, int(height * width * 0.3))
    return jax.vmap(lambda key: jax.random.choice(key, candidates, (SAMPLE,), replace=False))(jax.random.split(key, TRIES))


def official_cameras(ray: jax.Array, conf: jax.Array, samples: jax.Array, key: jax.Array) -> tuple[jax.Array, ...]:
    """Rotation (…, 3, 3), centre (…, 3), focal (…, 2) and principal point (…, 2) in half sizes, residual and inlier share (…,).

    The residual is the root mean square distance, in the plane z = 1, of the rays within the threshold.

    Args:
        ray: (..., h, w, 6).
        conf: (..., h, w).
        samples: (100, 8) from `sample_indices`.
        key: for the choice of at most 8000 inliers to refit on.
    """
    *leading, height, width, _ = ray.shape
    points = jnp.asarray(image_plane(height, width)[..., :2].reshape(-1, 2), ray.dtype)
    solve = partial(_solve, points, samples, key)
    found = lax.map(lambda view: solve(*view), (ray.reshape(-1, height * width, 6), conf.reshape(-1, height * width)))
    return jax.tree.map(lambda x: x.reshape(*leading, *x.shape[1:]), found)


def _solve(points: jax.Array, samples: jax.Array, key: jax.Array, ray: jax.Array, conf: jax.Array) -> tuple[jax.Array, ...]:
    z = ray[:, 2]
    forward = jnp.abs(z) > 1e-4
    weights = jnp.where(forward, conf, 0)
    targets = jnp.where(forward[:, None], ray[:, :2] / jnp.where(forward, z, 1)[:, None], ray[:, :2])

    chosen = jnp.argsort(-weights, stable=True)[samples]  # (tries, 8)
    tries = jax.vmap(_fit)(points[chosen], targets[chosen], weights[chosen])
    near = jax.vmap(lambda matrix: _distances(matrix, points, targets) < THRESHOLD)(tries)
    inliers = near[jnp.argmax(near.astype(weights.dtype) @ weights)]
    matrix = _fit(points, targets, jnp.where(_refitted(key, inliers, weights), weights, 0))
    matrix = jnp.where(jnp.linalg.det(matrix) < 0, -matrix, matrix)

    rotation, lower = _ql(matrix)
    lower = lower / lower[2, 2]
    center = weights @ ray[:, 3:] / weights.sum()
    distances = _distances(matrix, points, targets)
    near = jnp.where(distances < THRESHOLD, weights, 0)
    residual = jnp.sqrt(near @ jnp.square(distances) / near.sum())
    return rotation, center, 1 / jnp.diagonal(lower)[:2], lower[2, :2], residual, near.sum() / weights.sum()


def _refitted(key: jax.Array, inliers: jax.Array, weights: jax.Array) -> jax.Array:
    """The inliers, or of more than 8000 a random 8000 out of their most confident 95 %."""
    count = inliers.sum()
    rank = jnp.argsort(jnp.argsort(jnp.where(inliers, -weights, jnp.inf), stable=True), stable=True)
    eligible = inliers & (rank < jnp.maximum((count * 0.95).astype(rank.dtype), MAX_REFIT))
    draw = jnp.where(eligible, jax.random.uniform(key, inliers.shape), 2.0)
    last = jnp.sort(draw)[min(MAX_REFIT, len(draw)) - 1]
    return jnp.where(count > MAX_REFIT, eligible & (draw <= last), inliers)


def _fit(points: jax.Array, targets: jax.Array, weights: jax.Array) -> jax.Array:
    """H (3, 3) of p → d in the plane z = 1, from rows times the root of the weights; thin, so that many rays cost little memory."""
    ones, root = jnp.ones_like(points[:, :1]), jnp.sqrt(weights)[:, None]
    p = jnp.concatenate([points, ones], axis=-1) * root
    zero = jnp.zeros_like(p)
    rows = jnp.concatenate(
        [jnp.concatenate([-p, zero, p * targets[:, :1]], axis=-1), jnp.concatenate([zero, -p, p * targets[:, 1:]], axis=-1)]
    )
    triangle = jnp.linalg.qr(rows, mode="r")
    matrix = jnp.linalg.svd(triangle)[2][-1].reshape(3, 3)
    return matrix / matrix[2, 2]


def _distances(matrix: jax.Array, points: jax.Array, targets: jax.Array) -> jax.Array:
    aim = points @ matrix[:, :2].T + matrix[None, :, 2]
    return jnp.linalg.norm(aim[:, :2] / aim[:, 2:] - targets, axis=-1)


def _ql(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Orthogonal times lower triangular with a positive diagonal."""
    q, r = jnp.linalg.qr(matrix[:, ::-1])
    q, lower = q[:, ::-1], r[::-1, ::-1]
    sign = jnp.sign(jnp.diagonal(lower))
    return q * sign[None], lower * sign[:, None]
