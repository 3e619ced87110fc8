"""The depth maps of all views as one closed-up mesh, by way of a volume of distances."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator

import numpy as np

from da3jax.outputs.depth_grid import grid_triangles
from da3jax.outputs.options import ExportOptions
from da3jax.outputs.overlap import SAME_PLACE
from da3jax.outputs.points import lift
from da3jax.outputs.surface import Surface
from da3jax.outputs.tsdf import BLOCK, Volume, block_keys
from da3jax.types import Prediction

logger = logging.getLogger(__name__)

_PIXELS = 1.5
"""A voxel is as wide as so many pixels are at the lower quartile of depth."""

_COARSEST = 4
"""Pixels wider than so many voxels are too far away to be joined by them."""

_MOST_VOXELS = 2**24
"""What is kept in memory, at 24 bytes each."""

_SAMPLE = 2**18
"""Pixels that say where the scene is."""

_MARGIN = 1.05
"""By how much wider voxels get than should be enough, when there are too many."""


def tsdf_mesh(
    prediction: Prediction, keep: np.ndarray, intrinsics: np.ndarray, extrinsics: np.ndarray, options: ExportOptions
) -> list[Surface]:
    """One surface, with colours at its vertices, where the weighted mean of the views' signed distances is zero (`tsdf.Volume`).

    Unlike `grid_mesh` it averages what views disagree on and joins them into one surface of one resolution. Depth is bilinear between
    pixels that `grid_triangles` joins, so that nothing spans a depth edge, and a triangle stays only where some view sees its corners to
    3 % of their depth or a voxel. The side of a voxel is `mesh_voxel_size`; by default 1.5
    pixels at the lower quartile of depth. What is so far away that a pixel is over four voxels wide is left out.

    Voxels are larger than asked, which is said in a warning, where otherwise over three quarters of the pixels would be left out, and
    where there would be over 2²⁴ voxels or `mesh_max_faces` triangles.

    Args:
        prediction: N views with processed images.
        keep: (N, H, W) bool, the pixels that have a place in it.
        intrinsics: (N, 3, 3) in pixels.
        extrinsics: (N, 4, 4) world-to-camera.
        options: `mesh_voxel_size`, `mesh_edge_threshold` and `mesh_max_faces`.

    Returns:
        The surface, or none where there is nothing.
    """
    views = list(zip(prediction.depth, keep, prediction.processed_images, intrinsics, extrinsics, strict=True))
    if not keep.any():
        return []
    every = np.count_nonzero(keep) // _SAMPLE + 1
    samples = [np.stack(np.nonzero(kept))[:, ::every] for kept in keep]
    placed = [lift(view[0][tuple(where)], *where, *view[3:]) for view, where in zip(views, samples, strict=True)]
    origin = np.median(np.concatenate(placed), axis=0)
    widths = [view[0][tuple(where)] / view[3][0, 0] for view, where in zip(views, samples, strict=True)]
    width = float(np.percentile(np.concatenate(widths), 25))
    asked = options.mesh_voxel_size or _PIXELS * width
    side = max(asked, width / _COARSEST)

    def points() -> Iterator[np.ndarray]:
        for depth, kept, _, K, pose in views:
            where = np.nonzero(kept & (depth / K[0, 0] <= _COARSEST * side))
            yield lift(depth[where], *where, K, pose)

    while True:
        keys = block_keys(points(), origin, side)
        voxels = len(keys) * BLOCK**3
        if voxels > _MOST_VOXELS:
            side *= _MARGIN * math.sqrt(voxels / _MOST_VOXELS)
            continue
        volume = Volume.empty(keys, origin, side)
        for depth, kept, image, K, pose in views:
            _, whole = grid_triangles(depth, kept, K, options.mesh_edge_threshold)
            volume.integrate(depth, whole, image, K, pose)
        vertices, triangles, colours = volume.surface()
        if len(triangles) <= options.mesh_max_faces:
            break
        side *= _MARGIN * math.sqrt(len(triangles) / options.mesh_max_faces)
    if side > asked:
        text = "the mesh has voxels of %.4g, not %.4g: at least a quarter of a pixel, at most %d voxels and mesh_max_faces = %d triangles"
        logger.warning(text, side, asked, _MOST_VOXELS, options.mesh_max_faces)
    confirmed = np.zeros(len(vertices), bool)
    for depth, kept, _, K, pose in views:
        confirmed |= _seen_there(vertices, np.where(kept, depth, np.nan), K, pose, side)
    triangles = triangles[confirmed[triangles].all(axis=1)]
    used, numbers = np.unique(triangles, return_inverse=True)
    return [Surface("tsdf", vertices[used], numbers.reshape(-1, 3), colours[used])] if len(used) else []


def _seen_there(points: np.ndarray, depth: np.ndarray, intrinsics: np.ndarray, extrinsics: np.ndarray, side: float) -> np.ndarray:
    """(P,) bool: points (P, 3) whose pixel has their depth, to 3 % of it or a voxel.

    Behind the silhouette of what is near, "behind" of one view and "free" of another may cancel where nothing was seen.
    """
    # Written out as in `points.lift`: a matrix product's last bit may depend on how many threads share it.
    x, y, z = (row[0] * points[:, 0] + row[1] * points[:, 1] + row[2] * points[:, 2] + row[3] for row in extrinsics[:3])
    seen, front = np.zeros(len(points), bool), np.flatnonzero(z > 0)
    x, y, z = x[front], y[front], z[front]
    u, v = (np.floor(row[0] * x / z + row[1] * y / z + row[2]) for row in intrinsics[:2])
    inside = (u >= 0) & (v >= 0) & (u < depth.shape[1]) & (v < depth.shape[0])
    found = depth[v[inside].astype(int), u[inside].astype(int)]
    seen[front[inside]] = np.abs(z[inside] - found) <= np.maximum(SAME_PLACE * found, side)  # NaN agrees with nothing
    return seen
