"""A prediction as coloured points in its world."""

from __future__ import annotations

import numpy as np

from da3jax.outputs.options import ExportOptions
from da3jax.outputs.thinning import choose_pixels, thin_by_voxels
from da3jax.types import Prediction

NO_POINTS = "no pixel outside the sky has a positive finite depth and passes the filters"
"""Why a file of points would be empty."""

_LIFTED = 16
"""Voxels choose among so many times the points that are asked for; of still more pixels a random choice is lifted, for memory's sake."""

_ROUNDING = 2.0**-24
"""Of a float32, as a share of the number."""


def world_points(
    prediction: Prediction, keep: np.ndarray, intrinsics: np.ndarray, extrinsics: np.ndarray, options: ExportOptions
) -> tuple[np.ndarray, np.ndarray]:
    """Each kept pixel's centre at its depth, at most `num_max_points` of them, chosen as `thinning` says.

    The same on any machine, for any number of threads.

    Args:
        prediction: depth and processed images.
        keep: (N, H, W) bool, of `cleanup.kept_pixels`.
        intrinsics: (N, 3, 3) in pixels, of `cameras.known_or_assumed_cameras`.
        extrinsics: (N, 4, 4) world-to-camera.
        options: `num_max_points`, `thinning` and `seed`.

    Returns:
        Points (P, 3) float64 in the prediction's world and colours (P, 3) uint8, in the order of views, rows and columns.
    """
    most = options.num_max_points
    points, colours = [], []
    for view, chosen in enumerate(choose_pixels(keep, most if options.thinning == "random" else _LIFTED * most, options.seed)):
        rows, columns = np.divmod(chosen, keep.shape[2])
        points.append(lift(prediction.depth[view, rows, columns], rows, columns, intrinsics[view], extrinsics[view]))
        colours.append(prediction.processed_images[view, rows, columns])
    points, colours = np.concatenate(points), np.concatenate(colours)
    chosen = thin_by_voxels(points, most)
    return (points, colours) if len(chosen) == len(points) else (points[chosen], colours[chosen])


def diagonal(points: np.ndarray) -> float:
    """Of the box between the 5th and 95th percentiles along each axis; 1 where there is no extent."""
    if not len(points):
        return 1.0
    low, high = np.percentile(points, (5, 95), axis=0)
    return float(np.linalg.norm(high - low)) or 1.0


def float32_origin(points: np.ndarray) -> np.ndarray:
    """From where float32 coordinates of points (P, 3) are good to a millionth of their `diagonal`.

    Zero where coordinates in the world are; else, as with known cameras in a country's grid, the median in whole units, or in halves,
    quarters and so on where the diagonal is shorter.
    """
    if not len(points):
        return np.zeros(3)
    median, size = np.median(points, axis=0), diagonal(points)
    if np.abs(median).max() * _ROUNDING <= 1e-6 * size:
        return np.zeros(3)
    unit = 2.0 ** min(0, np.floor(np.log2(size)))
    return unit * np.round(median / unit)


def lift(depth: np.ndarray, rows: np.ndarray, columns: np.ndarray, intrinsics: np.ndarray, extrinsics: np.ndarray) -> np.ndarray:
    """World points (P, 3) float64 of the centres of pixels at their depth (P,).

    Sums of three terms are written out: a matrix product's last bit may depend on how many threads share it.
    """
    to_world = np.linalg.inv(extrinsics)
    x, y, z = (to_world[:3, :3] @ np.linalg.inv(intrinsics)).T
    directions = x * (columns + 0.5)[:, None] + y * (rows + 0.5)[:, None] + z
    return to_world[:3, 3] + depth.astype(np.float64)[:, None] * directions
