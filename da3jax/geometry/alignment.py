"""The similarity that brings points onto points (Umeyama 1991) and cameras onto cameras. What the data do not determine is data."""

from __future__ import annotations

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp

from da3jax.geometry.procrustes import project_to_rotation, rotation_gap
from da3jax.geometry.rigid import invert_rigid
from da3jax.geometry.rotations import rotation_between
from da3jax.geometry.safe import floats, matmul, safe_divide, safe_norm, safe_normalize, safe_sqrt
from da3jax.geometry.similarity import Similarity


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Alignment:
    """A similarity and how far to trust it; any leading axes."""

    similarity: Similarity
    """From the source's world, or the prediction's, to the target's, or the reference's."""
    rotation_determined: jax.Array
    """(...) bool. Where it is False the rotation is the smallest of those that fit equally well."""
    scale_determined: jax.Array
    """(...) bool. Where it is False the scale is 1."""
    inliers: jax.Array
    """(..., N) bool, the points or views that the similarity was fitted to."""
    residual: jax.Array
    """(...) root mean square distance of these points or camera centres after the alignment, in the target's units."""


def umeyama(
    source: jax.Array, target: jax.Array, weights: jax.Array | None = None, *, with_scale: bool = True, tolerance: float | None = None
) -> Alignment:
    """The similarity that brings source points (..., N, 3) nearest to target points (..., N, 3) in weighted least squares.

    Weights (..., N) are not negative; a point of weight 0 may be anything, NaN too. One point, or many in one place, say nothing about
    scale and rotation; points on a line nothing about the turn about it. A set counts as a line where it spreads less than `tolerance`
    times its length to the side (default: what rounding can hide). Gradients are finite everywhere.
    Source: Umeyama, Least-squares estimation of transformation parameters between two point patterns, 1991.

    Raises:
        ValueError: what is given are no points, or not one, or not as many of both.
    """
    source, target = floats(source), floats(target)
    if source.ndim < 2 or source.shape[-2:] != target.shape[-2:] or source.shape[-1] != 3 or not source.shape[-2]:
        raise ValueError(f"points are of the shapes {source.shape} and {target.shape}; both are (..., N, 3), of at least one point")
    weights = jnp.ones_like(source[..., 0]) if weights is None else jnp.asarray(weights, source.dtype)
    counts = weights[..., None] > 0
    source, target = jnp.where(counts, source, 0), jnp.where(counts, target, 0)
    x, y = source - _mean(source, weights), target - _mean(target, weights)
    share = safe_divide(weights, weights.sum(axis=-1, keepdims=True))[..., None]
    spread_x, spread_y = jnp.sum(share * x * x, axis=(-2, -1)), jnp.sum(share * y * y, axis=(-2, -1))
    covariance = matmul(jnp.swapaxes(share * y, -1, -2), x)  # (..., 3, 3)

    eps = jnp.finfo(source.dtype).eps
    distinct = (spread_x > _rounding(source)) & (spread_y > _rounding(target))
    related = jnp.linalg.norm(jax.lax.stop_gradient(covariance), axis=(-2, -1)) > 16 * eps * jnp.sqrt(spread_x * spread_y)
    gap = 16 * eps if tolerance is None else tolerance**2
    rotation_determined = distinct & related & (rotation_gap(covariance) > gap)
    scale_determined = distinct & related & with_scale

    smallest = rotation_between(*_main_directions(jnp.where((distinct & related)[..., None, None], covariance, 0)))
    rotation = jnp.where(rotation_determined[..., None, None], project_to_rotation(covariance), smallest)
    scale = jnp.where(scale_determined, safe_divide(jnp.sum(rotation * covariance, axis=(-2, -1)), spread_x), 1)
    similarity, residual = _with_translation(source, target, weights, scale, rotation)
    return Alignment(similarity, rotation_determined, scale_determined, counts[..., 0], residual)


def align_poses(
    prediction: jax.Array,
    reference: jax.Array,
    mask: jax.Array | None = None,
    *,
    key: jax.Array | None = None,
    tries: int = 10,
    robust_from: int = 10,
    tolerance: float = 0.01,
) -> Alignment:
    """The similarity from the world of predicted cameras to that of reference cameras, both world-to-camera (..., N, 3 or 4, 4).

    As in the official code it is fitted to the camera centres, from `robust_from` views on by RANSAC: `tries` samples of half the views
    (at least 3), inliers nearer than the median distance to the nearest reference centre after a first fit, most inliers win, then the
    smaller mean error, and the similarity is fitted again to the winner's inliers. The same `key` (default: one fixed key) gives the same
    samples, to every scene of a batch.

    Where the centres lie on a line or in one place (to `tolerance`, see `umeyama`), the rotation is the mean one between the cameras
    themselves, so that one camera is enough for it; the scale is still the centres', if they are not in one place.
    The mask (..., N) says which views count; the others may be NaN.

    Raises:
        ValueError: what is given are no cameras, or not one, or not as many of both.
    """
    prediction, reference = floats(prediction), floats(reference)
    for name, cameras in (("prediction", prediction), ("reference", reference)):
        if cameras.ndim < 3 or cameras.shape[-2:] not in ((3, 4), (4, 4)):
            raise ValueError(f"{name} has the shape {cameras.shape}; cameras are (..., N, 3, 4) or (..., N, 4, 4)")
    if 0 in prediction.shape[-3:]:
        raise ValueError(f"prediction has the shape {prediction.shape}; at least one camera is needed to align with")
    if prediction.shape[-3] != reference.shape[-3]:
        raise ValueError(f"prediction has {prediction.shape[-3]} cameras and reference {reference.shape[-3]}; they are the same ones")
    mask = jnp.ones(prediction.shape[:-2], bool) if mask is None else jnp.asarray(mask, bool)
    prediction, reference = (jnp.where(mask[..., None, None], x[..., :3, :], jnp.eye(3, 4, dtype=x.dtype)) for x in (prediction, reference))
    source, target = invert_rigid(prediction)[..., 3], invert_rigid(reference)[..., 3]
    inliers = mask
    if mask.shape[-1] >= robust_from:
        key = jax.random.key(0) if key is None else key
        best = _ransac(*jax.lax.stop_gradient((source, target)), mask, key, tries, tolerance)
        inliers = jnp.where(mask.sum(axis=-1, keepdims=True) >= robust_from, best, mask)
    weights = inliers.astype(source.dtype)
    centers = umeyama(source, target, weights, tolerance=tolerance)

    turned, turns = ((weights[..., None, None] * reference)[..., :3], prediction[..., :3])
    turned, turns = (x.reshape(*x.shape[:-3], -1, 3) for x in (turned, turns))  # (..., N·3, 3)
    mean_turn = matmul(jnp.swapaxes(turned, -1, -2), turns)  # the sum of R_refᵀ R_pred
    agree = rotation_gap(mean_turn) > tolerance**2
    from_cameras = jnp.where(agree[..., None, None], project_to_rotation(mean_turn), centers.similarity.rotation)
    rotation = jnp.where(centers.rotation_determined[..., None, None], centers.similarity.rotation, from_cameras)
    similarity, residual = _with_translation(source, target, weights, centers.similarity.scale, rotation)
    return Alignment(similarity, centers.rotation_determined | agree, centers.scale_determined, inliers, residual)


def _ransac(source: jax.Array, target: jax.Array, mask: jax.Array, key: jax.Array, tries: int, tolerance: float) -> jax.Array:
    """The inliers (..., N) of the best try; its sample where these are fewer than three."""
    first = umeyama(source, target, mask, tolerance=tolerance).similarity.apply(source)
    between = jnp.linalg.norm(first[..., :, None, :] - target[..., None, :, :], axis=-1)
    nearest = jnp.where(mask[..., None, :], between, jnp.inf).min(axis=-1)
    threshold = jnp.nanmedian(jnp.where(mask, nearest, jnp.nan), axis=-1, keepdims=True)
    threshold = jnp.maximum(threshold, jnp.sqrt(_rounding(target)[..., None]))[..., None]  # (..., 1, 1)

    # A lot is a function of the view's number, so that views without a mask at the end change nothing.
    keys = jax.vmap(partial(jax.random.fold_in, key))(jnp.arange(mask.shape[-1]))
    lots = jax.vmap(lambda key: jax.random.uniform(key, (tries,)), out_axes=-1)(keys)
    lots = lots.reshape(*(1,) * (mask.ndim - 1), tries, -1)
    order = jnp.argsort(jnp.where(mask[..., None, :], lots, 2), axis=-1)  # views that do not count come last
    size = jnp.maximum(3, (mask.sum(axis=-1) + 1) // 2)[..., None, None]
    samples = (jnp.argsort(order, axis=-1) < size) & mask[..., None, :]  # (..., tries, N)
    source, target = source[..., None, :, :], target[..., None, :, :]
    fits = umeyama(source, target, samples, tolerance=tolerance)
    errors = jnp.linalg.norm(fits.similarity.apply(source) - target, axis=-1)
    inliers = mask[..., None, :] & (errors <= threshold)
    count = inliers.sum(axis=-1)
    mean_error = jnp.where(inliers, errors, 0).sum(axis=-1) / jnp.maximum(count, 1)
    most = count == count.max(axis=-1, keepdims=True)
    best = jnp.argmin(jnp.where(most, mean_error, jnp.inf), axis=-1)[..., None, None]
    chosen, sample = (jnp.take_along_axis(x, best, axis=-2)[..., 0, :] for x in (inliers, samples))
    return jnp.where(chosen.sum(axis=-1, keepdims=True) >= 3, chosen, sample)


def _mean(points: jax.Array, weights: jax.Array) -> jax.Array:
    """(..., 1, 3), zero for no points."""
    total = jnp.sum(weights[..., None] * points, axis=-2, keepdims=True)
    return safe_divide(total, weights.sum(axis=-1)[..., None, None])


def _rounding(points: jax.Array) -> jax.Array:
    """(...) the mean square spread that points in one place can have by rounding."""
    points = jax.lax.stop_gradient(points)
    return (16 * jnp.finfo(points.dtype).eps * jnp.max(jnp.abs(points), axis=(-2, -1))) ** 2


def _main_directions(matrix: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Right and left singular vector (..., 3) of the largest singular value of matrices of rank one; zero vectors for zero.

    One step of power iteration from the longest column: exact for rank one, and so is its gradient.
    """
    longest = jnp.argmax(jnp.sum(matrix * matrix, axis=-2), axis=-1)[..., None, None]
    left = safe_normalize(jnp.take_along_axis(matrix, longest, axis=-1)[..., 0])
    right = safe_normalize(matmul(left[..., None, :], matrix)[..., 0, :])
    return right, safe_normalize(matmul(matrix, right[..., None])[..., 0])


def _with_translation(
    source: jax.Array, target: jax.Array, weights: jax.Array, scale: jax.Array, rotation: jax.Array
) -> tuple[Similarity, jax.Array]:
    """The similarity of this scale and rotation with its best translation, and the weighted residual."""
    turned = Similarity(scale, rotation, jnp.zeros_like(rotation[..., 0])).apply(source)
    translation = _mean(target, weights) - _mean(turned, weights)
    square = jnp.sum(weights * safe_norm(turned + translation - target) ** 2, axis=-1)
    return Similarity(scale, rotation, translation[..., 0, :]), safe_sqrt(safe_divide(square, weights.sum(axis=-1)))
