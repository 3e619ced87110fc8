"""The cameras that a file is made with."""

from __future__ import annotations

import logging

import numpy as np

from da3jax.types import Prediction

logger = logging.getLogger(__name__)

_FIELD_OF_VIEW = np.radians(60)
"""Over the longer side, where nobody knows the camera."""


def known_or_assumed_cameras(prediction: Prediction, keep: np.ndarray, file: str) -> tuple[np.ndarray, np.ndarray]:
    """The prediction's cameras, and assumed ones where it has none, as of mono and metric networks and of independent images.

    Without intrinsics a field of view of 60° over the longer side is assumed; without extrinsics the views stand side by side along
    x. Both are said in a warning.

    Args:
        prediction: N views.
        keep: (N, H, W) bool, the pixels whose depth says how far apart views are put.
        file: what is being written, for messages.

    Returns:
        Intrinsics (N, 3, 3) in pixels and world-to-camera (N, 4, 4), float64.

    Raises:
        ValueError: a camera that cannot be inverted.
    """
    views, height, width = keep.shape
    assumed = []
    if prediction.intrinsics is not None:
        intrinsics = prediction.intrinsics.astype(np.float64)
    else:
        assumed.append("a field of view of 60° over the longer side of the image")
        focal = max(height, width) / 2 / np.tan(_FIELD_OF_VIEW / 2)
        intrinsics = np.tile(np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]]), (views, 1, 1))

    extrinsics = np.tile(np.eye(4), (views, 1, 1))
    if prediction.extrinsics is not None:
        extrinsics[:, :3] = prediction.extrinsics[:, :3]
    elif views > 1:
        assumed.append("views side by side along x")
        # Nearly all of a view lies in front of its 98th percentile of depth: neighbours are that frustum's width apart, and a gap.
        depths = (depth[kept].astype(np.float64) for depth, kept in zip(prediction.depth, keep, strict=True))
        widths = [width / K[0, 0] * np.percentile(d, 98) for d, K in zip(depths, intrinsics, strict=True) if d.size]
        extrinsics[:, 0, 3] = -1.1 * max(widths, default=1.0) * np.arange(views)
    if assumed:
        logger.warning("%s: the prediction lacks cameras, or a part of them; it assumes %s", file, " and ".join(assumed))

    check_invertible(intrinsics, "intrinsics", file)
    check_invertible(extrinsics, "extrinsics", file)
    return intrinsics, extrinsics


def view_sizes(prediction: Prediction) -> np.ndarray:
    """(N, 2) height and width of each view: of `da3jax.to_native`, views of several sizes lie in the upper left corner of shared arrays."""
    sizes = np.tile(prediction.depth.shape[1:], (len(prediction.depth), 1))
    if prediction.from_image is None or prediction.image_sizes is None:
        return sizes
    native = (np.asarray(prediction.from_image) == np.eye(3)).all(axis=(1, 2))
    return np.where(native[:, None], np.minimum(prediction.image_sizes, sizes), sizes)


def check_invertible(matrices: np.ndarray, name: str, file: str) -> None:
    """Raises a ValueError that names the field, the view and the file, unless all matrices (N, 3 or 4, 3 or 4) lead back."""
    for view, matrix in enumerate(matrices):
        if not np.isfinite(matrix).all() or np.linalg.det(matrix[:3, :3]) == 0:
            raise ValueError(f"{file} cannot be made: {name} of view {view} are not finite or cannot be inverted")
