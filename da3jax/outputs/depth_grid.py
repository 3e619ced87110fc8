"""Triangles between neighbouring pixels of one depth map, none across a depth edge."""

from __future__ import annotations

import numpy as np


def grid_lines(size: int, stride: int) -> np.ndarray:
    """The rows, or columns, of pixels that a grid of this stride stands on: as near to the middle of the image as it can be."""
    return np.arange((size - 1) % stride // 2, size, stride)


def grid_triangles(
    depth: np.ndarray, keep: np.ndarray, intrinsics: np.ndarray, edge_threshold: float, stride: int = 1
) -> tuple[np.ndarray, np.ndarray]:
    """Two triangles for every cell of four pixels, less those that are cut.

    A triangle is cut where one of its corners is not kept, and where the surface through its corners is seen at an angle of more than
    `edge_threshold` from face on: so steep is what joins a thing to the background behind it. Measured by the angle and not by the
    jump in depth, an edge is an edge at any focal length and resolution. Of a cell's two diagonals that one is drawn along which
    depth jumps less, so that a cell at an edge keeps the triangle that lies on one side of it.

    With a stride the corners are pixels that many rows and columns apart, and a cell is cut whole if it has a pixel that is not kept or
    a cut in the grid of all pixels: no triangle spans what was cut there.

    Args:
        depth: (H, W) along z.
        keep: (H, W) bool; the depth of the others is not looked at.
        intrinsics: (3, 3) in pixels, upper triangular.
        edge_threshold: in degrees, up to 90.
        stride: in pixels.

    Returns:
        (F, 3) int64, flat indices of pixels, counter-clockwise as the camera sees them; and (R - 1, C - 1) bool, the cells between the
        R, C `grid_lines` that have both triangles.
    """
    rows, columns = (grid_lines(size, stride) for size in depth.shape)
    if len(rows) < 2 or len(columns) < 2:
        return np.zeros((0, 3), np.int64), np.zeros((max(len(rows) - 1, 0), max(len(columns) - 1, 0)), bool)
    inverse = np.divide(1, depth, out=np.full(depth.shape, np.nan), where=keep)[np.ix_(rows, columns)]
    allowed = np.ones((len(rows) - 1, len(columns) - 1), bool)
    if stride > 1:
        _, whole = grid_triangles(depth, keep, intrinsics, edge_threshold)
        whole = whole[: rows[-1], : columns[-1]]
        allowed = np.logical_and.reduceat(np.logical_and.reduceat(whole, rows[:-1], axis=0), columns[:-1], axis=1)

    pixel = rows[:, None] * depth.shape[1] + columns
    jump_falling = np.nan_to_num(np.abs(_corner(inverse, 0, 0) - _corner(inverse, 1, 1)), nan=np.inf)
    jump_rising = np.nan_to_num(np.abs(_corner(inverse, 0, 1) - _corner(inverse, 1, 0)), nan=np.inf)
    rising = jump_rising <= jump_falling
    triangles, count = [], np.zeros(allowed.shape, int)
    for i, j in ((0, 0), (0, 1), (1, 0), (1, 1)):  # the corner with the right angle
        drawn = allowed & (rising == (i == j))
        drawn &= _facing(inverse, rows, columns, intrinsics, i, j) > np.cos(np.radians(edge_threshold))
        count += drawn
        along, across = _corner(pixel, i, 1 - j)[drawn], _corner(pixel, 1 - i, j)[drawn]
        triangles.append(np.stack([_corner(pixel, i, j)[drawn], *((across, along) if i == j else (along, across))], axis=-1))
    return np.concatenate(triangles), count == 2


def _corner(grid: np.ndarray, i: int, j: int) -> np.ndarray:
    """Of each cell the value at its upper or lower (i), left or right (j) corner."""
    return grid[i : grid.shape[0] - 1 + i, j : grid.shape[1] - 1 + j]


def _facing(inverse: np.ndarray, rows: np.ndarray, columns: np.ndarray, intrinsics: np.ndarray, i: int, j: int) -> np.ndarray:
    """The cosine of the angle between line of sight and normal, for each cell's triangle with its right angle at corner (i, j).

    On a plane n · X = 1 the inverse depth is linear in the pixel: 1 / z = n · K⁻¹ (u, v, 1) = a u + b v + c with n = Kᵀ (a, b, c). Along
    the line of sight r = K⁻¹ (u, v, 1) the cosine is n · r / |n| |r|, and n · r is the inverse depth itself.

    Returns:
        (R - 1, C - 1), NaN where a corner is.
    """
    corner, along, across = _corner(inverse, i, j), _corner(inverse, i, 1 - j), _corner(inverse, 1 - i, j)
    step = np.diff(columns)[0]
    a, b = (along - corner) / (step * (1 - 2 * j)), (across - corner) / (step * (1 - 2 * i))
    u = columns[:-1] + 0.5 + step * (1 + j) / 3  # the triangle's centre
    v = rows[:-1, None] + 0.5 + step * (1 + i) / 3
    centre = (corner + along + across) / 3
    (fx, skew, cx), (_, fy, cy), _ = intrinsics
    y = (v - cy) / fy
    x = (u - cx - skew * y) / fx
    return centre / (normal_length(a, b, centre, u, v, intrinsics) * np.sqrt(x**2 + y**2 + 1))


def normal_length(a: np.ndarray, b: np.ndarray, inverse: np.ndarray, u: np.ndarray, v: np.ndarray, intrinsics: np.ndarray) -> np.ndarray:
    """|n| of planes n · X = 1, by the inverse depth at the pixel (u, v) and what it grows by for each pixel to the right and down."""
    (fx, skew, cx), (_, fy, cy), _ = intrinsics
    return np.sqrt((fx * a) ** 2 + (skew * a + fy * b) ** 2 + (inverse - a * (u - cx) - b * (v - cy)) ** 2)
