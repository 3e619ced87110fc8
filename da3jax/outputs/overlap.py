"""Which places of one view another view shows better."""

from __future__ import annotations

import dataclasses

import numpy as np

from da3jax.outputs.depth_grid import grid_lines, grid_triangles
from da3jax.outputs.points import lift

SAME_PLACE = 0.03
"""Two views show the same place where the depths that they give it differ by no more than this share."""

_SAMPLE = 64
"""One vertex in so many tells which views overlap most."""


@dataclasses.dataclass(frozen=True)
class Grid:
    """The surface that one view sees: V vertices at centres of pixels, F triangles."""

    pixels: np.ndarray
    """(V,) flat indices of pixels, ascending."""
    triangles: np.ndarray
    """(F, 3) indices of vertices."""
    points: np.ndarray
    """(V, 3) float64, in the world."""
    normals: np.ndarray
    """(V, 3) towards the camera, of any length."""
    whole: np.ndarray
    """(R - 1, C - 1) bool, the cells between `grid_lines` that have both triangles."""
    depth: np.ndarray
    """(H, W)"""
    projection: np.ndarray
    """(3, 4), from the world to pixels times depth."""
    centre: np.ndarray
    """(3,) of the camera, in the world."""
    focal: float
    """Geometric mean of both focal lengths, in pixels."""
    stride: int
    """Of the grid, in pixels."""

    def resolution(self, points: np.ndarray) -> np.ndarray:
        """(P,) float32, pixels that the camera has for a unit of length at points (P, 3), seen from face on."""
        away = points - self.centre
        with np.errstate(divide="ignore", over="ignore"):  # infinite at the camera itself
            return (self.focal / np.sqrt(np.einsum("pi,pi->p", away, away))).astype(np.float32)

    def shows(self, points: np.ndarray) -> np.ndarray:
        """(P,) bool: the points (P, 3) of the world that lie on the surface, to 3 % of their depth, at a cell with both triangles."""
        shown = np.zeros(len(points), bool)
        if not self.whole.size:
            return shown
        # Written out as in `points.lift`: a matrix product's last bit may depend on how many threads share it.
        x, y, z = (row[0] * points[:, 0] + row[1] * points[:, 1] + row[2] * points[:, 2] + row[3] for row in self.projection)
        front = np.flatnonzero(z > 0)
        u, v, z = x[front] / z[front], y[front] / z[front], z[front]
        rows, columns = (grid_lines(size, self.stride) for size in self.depth.shape)
        # Half a pixel beyond the outermost vertices, so that rounding does not part two views of the same pixels.
        inside = (v >= rows[0]) & (v < rows[-1] + 1) & (u >= columns[0]) & (u < columns[-1] + 1)
        front, u, v, z = front[inside], u[inside], v[inside], z[inside]
        cells = tuple(
            np.clip((at - 0.5 - lines[0]) / self.stride, 0, len(lines) - 2).astype(int) for at, lines in ((v, rows), (u, columns))
        )
        depth = self.depth[v.astype(int), u.astype(int)]
        shown[front] = self.whole[cells] & (np.abs(z - depth) <= SAME_PLACE * depth)
        return shown


def make_grid(
    depth: np.ndarray, keep: np.ndarray, intrinsics: np.ndarray, extrinsics: np.ndarray, edge_threshold: float, stride: int
) -> Grid:
    """The triangles that `grid_triangles` gives, placed in the world by a world-to-camera matrix (4, 4)."""
    corners, whole = grid_triangles(depth, keep, intrinsics, edge_threshold, stride)
    used = np.zeros(depth.size, bool)
    used[corners] = True
    pixels = np.flatnonzero(used)
    triangles = (np.cumsum(used) - 1)[corners]

    rows, columns = np.divmod(pixels, depth.shape[1])
    points = lift(depth[rows, columns], rows, columns, intrinsics, extrinsics)
    a, b, c = points[triangles].transpose(1, 0, 2)
    across = np.cross(b - a, c - a)
    normals = np.stack([np.bincount(triangles.ravel(), np.repeat(axis, 3), len(points)) for axis in across.T], axis=-1)
    focal = float(np.sqrt(abs(np.linalg.det(intrinsics))))
    return Grid(
        pixels, triangles, points, normals, whole, depth, intrinsics @ extrinsics[:3], np.linalg.inv(extrinsics)[:3, 3], focal, stride
    )


def without_overlap(grids: list[Grid]) -> list[Grid]:
    """Leaves each place to the view that resolves it best.

    A view loses the triangles at each of whose corners a better view shows the same place: so views overlap by up to a cell where they
    meet, rather than leave a gap. Of two views that one is better whose focal length over its distance to the corner is greater; of
    equals, the earlier. That is an order of the views at each place, whatever the noise of their depths, so that borders are smooth
    and one view always is the best. A view shows a place if it is on its surface (`Grid.shows`) and seen from the same side.
    """
    return [dataclasses.replace(g, triangles=g.triangles[~_seen_better(grids, i)[g.triangles].all(axis=1)]) for i, g in enumerate(grids)]


def _seen_better(grids: list[Grid], view: int) -> np.ndarray:
    """(V,) bool: the vertices of a view that a better one shows too."""
    grid = grids[view]
    own = grid.resolution(grid.points)

    def better(other: int, vertices: np.ndarray) -> np.ndarray:
        """Those of the vertices, given by their indices, that the other view shows better."""
        that = grids[other]
        resolution = that.resolution(grid.points[vertices])
        vertices = vertices[(resolution > own[vertices]) | ((resolution == own[vertices]) & (other < view))]
        facing = np.einsum("pi,pi->p", that.centre - grid.points[vertices], grid.normals[vertices]) > 0
        vertices = vertices[facing]
        return vertices[that.shows(grid.points[vertices])]

    others = [other for other in range(len(grids)) if other != view]
    # What takes most of a sample goes first, so that there is little left to ask the others about.
    sample = np.arange(0, len(own), _SAMPLE)
    others.sort(key=lambda other: -len(better(other, sample)))
    left = np.ones(len(own), bool)
    for other in others:
        left[better(other, np.flatnonzero(left))] = False
    return ~left
