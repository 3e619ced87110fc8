"""Errors of depth and of cameras, as Depth Anything 3 is measured (arXiv 2511.10647, section on the benchmark, and its official code)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import numpy as np

from da3jax.geometry import relative_rounding, rotation_defect
from da3jax.schema import one_of

NO_ROTATION = 0.03
"""What R Rᵀ may be off by in a rotation R that was rounded, to two decimals in a text or to bfloat16."""


def depth_metrics(
    depth: np.ndarray, truth: np.ndarray, mask: np.ndarray, *, align: Literal["median", "none"] = "median"
) -> dict[str, float]:
    """Errors of the depth of one scene, every pixel of the mask counting the same.

    Args:
        depth: predicted z-depth (S, H, W), in any unit with "median", in that of `truth` with "none".
        truth: true z-depth (S, H, W), finite and positive where `mask` is set.
        mask: (S, H, W), the pixels to look at.
        align: "median" multiplies the depth of the whole scene by the median of truth / depth where the mask is set and depth is finite and
            positive; "none" leaves it as it is.

    Returns:
        `abs_rel`, mean of |depth − truth| / truth; `delta1`, share (0 to 1) of pixels where both depth / truth and truth / depth are
        below 1.25; `rmse`, in the unit of `truth`. All NaN where the mask is empty. Depth that is not positive fails `delta1`; depth
        that is not finite makes the means NaN or infinite.

    Raises:
        ValueError: the shapes are not one (S, H, W), the truth is not finite and positive on the mask, or `align` is unknown.
    """
    one_of("align", align, ("median", "none"))
    depth, truth, mask = np.asarray(depth, np.float64), np.asarray(truth, np.float64), np.asarray(mask, bool)
    if depth.ndim != 3 or not depth.shape == truth.shape == mask.shape:
        raise ValueError(f"depth, truth and mask have the shapes {depth.shape}, {truth.shape} and {mask.shape}; all must be one (S, H, W)")
    depth, truth = depth[mask], truth[mask]
    if not depth.size:
        return dict.fromkeys(("abs_rel", "delta1", "rmse"), float("nan"))
    if not (np.isfinite(truth) & (truth > 0)).all():
        raise ValueError("truth is not finite and positive everywhere on the mask; leave pixels without true depth out of the mask")
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        if align == "median":
            predicted = np.isfinite(depth) & (depth > 0)
            depth = depth * (np.median(truth[predicted] / depth[predicted]) if predicted.any() else 1)
        error = depth - truth
        return {
            "abs_rel": float(np.mean(np.abs(error) / truth)),
            "delta1": float(np.mean((depth < 1.25 * truth) & (truth < 1.25 * depth))),
            "rmse": float(np.sqrt(np.mean(error**2))),
        }


def pose_errors(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """How far the cameras of one scene are from the true ones, for every pair of views.

    As in the official benchmark: the world becomes the first camera's frame, E ← E E₀⁻¹; the relative pose of views i < j is E_i⁻¹ E_j;
    the error is the larger of the angle between the two relative rotations (0 to 180) and the angle between the two relative
    translations whatever their sign (0 to 90). No rigid motion of either world and no scale changes it, but for what the numbers no
    longer hold: a translation is zero up to the rounding of places that the array's type, or rotations that are not quite ones, tell.

    Where the true relative translation is zero, as with cameras that only turn about the first one's centre, it has no direction and
    only the rotation counts (the official code gives 90 degrees there). A predicted translation of zero beside a true one that is not
    is 90 degrees off. What is no rotation in `predicted` is as far off as its numbers are.

    Args:
        predicted: world-to-camera (S, 3 or 4, 4), in any world and at any scale.
        truth: likewise, finite, with rotations that are ones up to rounding.

    Returns:
        Degrees (P,), P = S (S − 1) / 2, in the order (0, 1), (0, 2), …, (1, 2), …; NaN where a predicted pose is not finite.

    Raises:
        ValueError: a shape is another, the numbers of views differ or are below two, or the truth is not finite or has no rotation.
    """
    predicted, truth = np.asarray(predicted), np.asarray(truth)
    for name, poses in (("predicted", predicted), ("truth", truth)):
        if poses.ndim != 3 or poses.shape[1:] not in ((3, 4), (4, 4)):
            raise ValueError(f"{name} has the shape {poses.shape}; world-to-camera poses are (S, 3, 4) or (S, 4, 4)")
    if len(predicted) != len(truth):
        raise ValueError(f"predicted has {len(predicted)} views and truth {len(truth)}; both must have the same views")
    if len(truth) < 2:
        raise ValueError(f"pose errors are of pairs of views; give at least two views, not {len(truth)}")
    if not np.isfinite(truth[:, :3]).all():
        raise ValueError("truth has a pose that is not finite; leave that view out of both predicted and truth")
    worst = int(np.argmax(off := rotation_defect(truth[:, :3, :3])))
    if off[worst] > NO_ROTATION:
        raise ValueError(
            f"truth has no rotation in view {worst}, R Rᵀ is off by {off[worst]:.2g}; of a similarity, divide the rows by their scale"
        )
    with np.errstate(invalid="ignore", over="ignore"):
        rotation, translation, still = _relative(predicted)
        true_rotation, true_translation, true_still = _relative(truth)
        # ‖A − B‖ = 2√2 sin(angle / 2): exact for small angles, where the arc cosine is not
        chord = np.linalg.norm(rotation - true_rotation, axis=(1, 2)) / np.sqrt(8)
        turned = 2 * np.arcsin(np.minimum(chord, 1))
        across = np.linalg.norm(np.cross(translation, true_translation), axis=1)
        along = np.abs((translation * true_translation).sum(1))
        moved = np.where(true_still, 0, np.where(still, np.pi / 2, np.arctan2(across, along)))
        finite = np.isfinite(translation).all(1)
        return np.where(finite, np.degrees(np.maximum(turned, moved)), np.nan)


def pose_auc(errors: np.ndarray, thresholds: Sequence[int] = (3, 5, 15, 30)) -> dict[int, float]:
    """Area under the curve of the share of pairs against the allowed error, in percent, for each threshold.

    As in the official benchmark: the mean of the cumulative histogram over the bins [0, 1), [1, 2), …, [k − 1, k] degrees.

    Args:
        errors: degrees (P,), as from `pose_errors`; NaN is beyond every threshold.
        thresholds: whole degrees k.

    Returns:
        {k: 0 to 100}.

    Raises:
        ValueError: there is no error to count, or a threshold is not a positive whole number.
    """
    errors = np.asarray(errors, np.float64)
    if errors.ndim != 1 or not errors.size:
        raise ValueError(f"errors has the shape {errors.shape}; it must be (P,) with at least one pair")
    for k in thresholds:
        if not k >= 1 or k % 1:
            raise ValueError(f"the threshold {k} is not a positive whole number of degrees")
    counted = errors[~np.isnan(errors)]
    return {int(k): float(100 * np.cumsum(np.histogram(counted, np.arange(k + 1))[0]).mean() / errors.size) for k in thresholds}


def _relative(poses: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Rotations (P, 3, 3) and translations (P, 3) of E_i⁻¹ E_j in the first camera's frame, and (P,) whether the translation is zero."""
    rotation, translation = np.split(poses[:, :3].astype(np.float64), [3], axis=2)
    # before the change of world, which is where rounding comes from
    rounding = relative_rounding(poses[rotation_defect(poses[:, :3, :3]) <= NO_ROTATION])
    tiny = rounding * np.abs(translation).max(initial=0, where=np.isfinite(translation))
    rotation = rotation @ rotation[0].T
    translation = translation - rotation @ translation[0]
    i, j = np.triu_indices(len(poses), 1)
    inverse = rotation[i].transpose(0, 2, 1)
    moved = (inverse @ (translation[j] - translation[i]))[..., 0]
    return inverse @ rotation[j], moved, np.linalg.norm(moved, axis=1) <= tiny
