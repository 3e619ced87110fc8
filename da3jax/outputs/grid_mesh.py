"""The depth maps of all views as one mesh, in which each place is drawn once."""

from __future__ import annotations

import logging
import math

import numpy as np

from da3jax.outputs.depth_grid import grid_triangles
from da3jax.outputs.options import ExportOptions
from da3jax.outputs.overlap import Grid, make_grid, without_overlap
from da3jax.outputs.surface import Surface
from da3jax.types import Prediction

logger = logging.getLogger(__name__)


def grid_mesh(
    prediction: Prediction, keep: np.ndarray, intrinsics: np.ndarray, extrinsics: np.ndarray, options: ExportOptions
) -> list[Surface]:
    """A surface a view, textured with its picture; its vertices are centres of pixels, and `grid_triangles` says where it is cut.

    Where several views show the same place, the one that resolves it best has it (`without_overlap`). Views that were put side by side
    because nobody knows their cameras keep all of theirs.

    Where that makes more than `mesh_max_faces` triangles, the grid is of every second, third, ... pixel. Textures keep every pixel.

    Args:
        prediction: N views with processed images.
        keep: (N, H, W) bool, the pixels that may be corners.
        intrinsics: (N, 3, 3) in pixels.
        extrinsics: (N, 4, 4) world-to-camera.
        options: `mesh_edge_threshold` and `mesh_max_faces`.

    Returns:
        Surfaces named `view_I`, of the views that have one.
    """
    most = options.mesh_max_faces

    views = list(zip(prediction.depth, keep, intrinsics, extrinsics, strict=True))

    def make(stride: int) -> list[Grid]:
        grids = [make_grid(*view, options.mesh_edge_threshold, stride) for view in views]
        return grids if prediction.extrinsics is None else without_overlap(grids)

    total = sum(len(grid_triangles(depth, kept, K, options.mesh_edge_threshold)[0]) for depth, kept, K, _ in views)
    # A coarse cell takes stride² fine ones, whole, so that this stride fits even if nothing overlaps.
    stride = max(1, math.ceil(math.sqrt(total / most)))
    grids = make(stride)
    for finer in range(max(1, math.ceil(stride * math.sqrt(_count(grids) / most))), stride):
        trial = make(finer)
        if _count(trial) <= most:
            stride, grids = finer, trial
            break
    if stride > 1:
        text = "the mesh takes one row and column of pixels in %d and has %d triangles, because mesh_max_faces is %d"
        logger.warning(text, stride, _count(grids), most)
    return [_surface(f"view_{i}", grid, prediction.processed_images[i]) for i, grid in enumerate(grids) if len(grid.triangles)]


def _count(grids: list[Grid]) -> int:
    return sum(len(grid.triangles) for grid in grids)


def _surface(name: str, grid: Grid, image: np.ndarray) -> Surface:
    """The grid with its picture, without the vertices that no triangle has."""
    used = np.zeros(len(grid.points), bool)
    used[grid.triangles] = True
    pixels = grid.pixels[used]
    height, width = image.shape[:2]
    rows, columns = np.divmod(pixels, width)
    return Surface(
        name=name,
        vertices=grid.points[used],
        triangles=(np.cumsum(used) - 1)[grid.triangles],
        colours=image.reshape(-1, 3)[pixels],
        uv=np.stack([(columns + 0.5) / width, (rows + 0.5) / height], axis=-1),
        texture=image,
    )
