"""A volume of truncated signed distances to what the views see, kept in blocks of voxels near the surface alone.

Source: Curless and Levoy, A volumetric method for building complex models from range images, 1996; blocks as in Nießner et al., Real-time
3D reconstruction at scale using voxel hashing, 2013.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterable

import numpy as np

from da3jax.outputs.depth_grid import normal_length
from da3jax.outputs.tetrahedra import CORNERS, march

BLOCK = 8
"""Voxels along the side of a block."""

TRUNCATION = BLOCK // 2
"""Voxels from the surface to where distances are cut off."""

_VOXELS = BLOCK**3

_CHUNK = 512
"""Blocks that are worked on at a time."""

_SHIFT = 21
"""Bits of each coordinate of a block in its key; coordinates are from −2²⁰ on."""


@dataclasses.dataclass(frozen=True)
class Volume:
    """B blocks of 8³ voxels each; the middle of voxel (i, j, k) lies at origin + side · (i, j, k)."""

    keys: np.ndarray
    """(B,) int64, ascending, of `block_keys`."""
    origin: np.ndarray
    """(3,) in the world."""
    side: float
    """Of a voxel, in the world's unit."""
    sums: np.ndarray
    """(B, 512, 6) float32: weight; weight · distance, in units of the truncation, at most 1; weight of colours; this · sRGB colour."""

    @staticmethod
    def empty(keys: np.ndarray, origin: np.ndarray, side: float) -> Volume:
        """Voxels that nobody has seen."""
        return Volume(keys, origin, side, np.zeros((len(keys), _VOXELS, 6), np.float32))

    def places(self, numbers: np.ndarray) -> np.ndarray:
        """(P, 3) float64 in the world: the middles of voxels, numbered block by block."""
        block, local = np.divmod(numbers, _VOXELS)
        return self.origin + self.side * (BLOCK * _coordinates(self.keys[block]) + _LOCAL[local])

    def integrate(self, depth: np.ndarray, whole: np.ndarray, image: np.ndarray, intrinsics: np.ndarray, extrinsics: np.ndarray) -> None:
        """Adds what one view sees.

        A voxel before the surface, or less than the truncation behind it, takes its distance from the plane that touches the surface where
        the line of sight meets it, with the weight (focal length · side / depth)², the pixels that show the voxel; nearer than the
        truncation, the colour too. Between pixels inverse depth is bilinear, and there is none in cells that are not whole.

        Args:
            depth: (H, W) along z.
            whole: (H - 1, W - 1) bool, the cells between pixels that lie on one surface (`grid_triangles`).
            image: (H, W, 3) uint8.
            intrinsics: (3, 3) in pixels.
            extrinsics: (4, 4) world-to-camera.
        """
        inverse = np.divide(1, depth, out=np.full(depth.shape, np.nan), where=depth > 0)
        projection = intrinsics @ extrinsics[:3]
        steps = self.side * projection[:, :3]  # from a voxel to the next, in pixels times depth
        within = _combine(steps, _LOCAL)  # (3, 512)
        starts = BLOCK * _combine(steps, _coordinates(self.keys)) + (projection[:, :3] @ self.origin + projection[:, 3])[:, None]
        seen = np.flatnonzero(_in_sight(starts, BLOCK * steps, depth.shape))
        for blocks in np.split(seen, range(_CHUNK, len(seen), _CHUNK)):
            x, y, z = (starts[:, blocks, None] + within[:, None]).reshape(3, -1)
            voxel = np.flatnonzero(z > 0)
            u, v, z = x[voxel] / z[voxel] - 0.5, y[voxel] / z[voxel] - 0.5, z[voxel]
            inside = (u >= 0) & (v >= 0) & (u < whole.shape[1]) & (v < whole.shape[0])
            voxel, u, v, z = voxel[inside], u[inside], v[inside], z[inside]
            column, row = u.astype(int), v.astype(int)
            on = whole[row, column]
            voxel, u, v, z, column, row = voxel[on], u[on], v[on], z[on], column[on], row[on]
            right, down = u - column, v - row
            upper, lower = (inverse[row + i, column + 1] - inverse[row + i, column] for i in (0, 1))
            a = (1 - down) * upper + down * lower  # how inverse depth grows to the right and downwards
            b = (1 - right) * (inverse[row + 1, column] - inverse[row, column])
            b += right * (inverse[row + 1, column + 1] - inverse[row, column + 1])
            at = inverse[row, column] + right * upper + down * b
            distance = (1 - z * at) / (TRUNCATION * self.side * normal_length(a, b, at, u + 0.5, v + 0.5, intrinsics))

            use = distance > -1
            voxel, z, distance = voxel[use], z[use], distance[use]
            weight = intrinsics[0, 0] * intrinsics[1, 1] * (self.side / np.maximum(z, self.side)) ** 2
            near = weight * (distance < 1)
            colour = image[np.rint(v[use]).astype(int), np.rint(u[use]).astype(int)]
            added = np.column_stack([weight, weight * np.minimum(distance, 1), near, near[:, None] * colour])
            block, local = np.divmod(voxel, _VOXELS)
            self.sums[blocks[block], local] += added.astype(np.float32)

    def surface(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Where the distance is zero: vertices (V, 3) float64 in the world, triangles (F, 3), fronts to the views, colours (V, 3) uint8.

        Cubes with a voxel that nobody saw, or that all saw far from any surface, have none.
        """
        weight, distance, coloured = (self.sums[..., i] for i in range(3))
        known = coloured > 0
        value = np.divide(distance, weight, out=np.full(weight.shape, np.nan, np.float32), where=known)
        numbers = self._cubes(value)
        value = value.reshape(-1)
        ends, triangles = march(value[numbers], numbers)
        share = value[ends].astype(np.float64)
        share = (share[:, :1] / (share[:, :1] - share[:, 1:]))[..., None]  # of the way from the first end to the second
        a, b = self.places(ends[:, 0]), self.places(ends[:, 1])
        sums = self.sums.reshape(-1, 6)[ends]
        colours = sums[..., 3:].astype(np.float64) / sums[..., 2:3]
        mixed = (1 - share[:, 0]) * colours[:, 0] + share[:, 0] * colours[:, 1]
        return a + share[:, 0] * (b - a), triangles, np.rint(mixed).astype(np.uint8)

    def _cubes(self, value: np.ndarray) -> np.ndarray:
        """(A, 8) numbers of the voxels at the corners of the cubes in which the sign of a value (B, 512) changes."""
        missing = len(self.keys)
        value = np.concatenate([value, np.full((1, _VOXELS), np.nan, value.dtype)]).reshape(-1, BLOCK, BLOCK, BLOCK)
        found = [np.zeros((0, 8), np.int64)]
        for start in range(0, missing, _CHUNK):
            keys = self.keys[start : start + _CHUNK]
            neighbours = np.stack([_find(self.keys, keys + _key(corner)) for corner in CORNERS], axis=-1)  # (n, 8)
            padded = np.full((len(keys), BLOCK + 1, BLOCK + 1, BLOCK + 1), np.nan, value.dtype)
            for corner, block in zip(CORNERS, neighbours.T, strict=True):
                to = tuple(slice(BLOCK, None) if bit else slice(BLOCK) for bit in corner)
                since = tuple(slice(1) if bit else slice(None) for bit in corner)
                padded[(slice(None), *to)] = value[(block, *since)]
            corners = [padded[(slice(None), *(slice(bit, BLOCK + bit) for bit in corner))] for corner in CORNERS]
            low, high = np.minimum.reduce(corners), np.maximum.reduce(corners)  # NaN where one of them is
            block, *local = np.nonzero((low < 0) & (high >= 0))
            at = np.stack(local, axis=-1)[:, None] + CORNERS  # (A, 8, 3), up to and with 8
            over, at = np.divmod(at, BLOCK)
            owner = np.take_along_axis(neighbours[block], over @ [1, 2, 4], axis=1)
            found.append(owner * _VOXELS + at @ [BLOCK**2, BLOCK, 1])
        return np.concatenate(found)


_LOCAL = np.stack(np.unravel_index(np.arange(_VOXELS), (BLOCK, BLOCK, BLOCK)), axis=-1)
"""(512, 3) coordinates of the voxels within their block, in their order."""


def block_keys(points: Iterable[np.ndarray], origin: np.ndarray, side: float) -> np.ndarray:
    """The blocks that have a voxel within the truncation of a point along each axis.

    Args:
        points: parts (P, 3) of all points, in the world; those more than 2²³ voxels from the origin are left out.
        origin: (3,) in the world.
        side: of a voxel.

    Returns:
        (B,) int64, ascending.
    """
    found = np.zeros(0, np.int64)
    for part in points:
        halves = np.floor((part - origin) / (TRUNCATION * side) + 0.5 / TRUNCATION)  # voxels are centred on their places
        halves = halves[(np.abs(halves) < 2.0**_SHIFT - 4).all(axis=1)].astype(np.int64)
        halves = _coordinates(np.unique(_key(halves)))
        around = [_key((halves + shift) // 2) for shift in itertools.product((-1, 1), repeat=3)]
        found = np.unique(np.concatenate([found, *around]))
    return found


def _key(coordinates: np.ndarray) -> np.ndarray:
    """One number for three coordinates (..., 3); of a sum it is the sum."""
    x, y, z = np.moveaxis(coordinates, -1, 0)
    return (x << 2 * _SHIFT) + (y << _SHIFT) + z


def _coordinates(keys: np.ndarray) -> np.ndarray:
    """(..., 3), each from −2²⁰ to 2²⁰, of keys."""
    half = 1 << _SHIFT - 1
    keys = keys + _key(np.full(3, half))
    return np.stack([keys >> 2 * _SHIFT, keys >> _SHIFT & 2 * half - 1, keys & 2 * half - 1], axis=-1) - half


def _find(keys: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Where the wanted are among ascending keys; the number of keys for those that are not there."""
    at = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return np.where(keys[at] == wanted, at, len(keys))


def _combine(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """(3, P) matrix · point, written out: a matrix product's last bit may depend on how many threads share it."""
    x, y, z = points.T.astype(np.float64)
    return np.stack([row[0] * x + row[1] * y + row[2] * z for row in matrix])


def _in_sight(starts: np.ndarray, edges: np.ndarray, image_size: tuple[int, int]) -> np.ndarray:
    """(B,) bool: the blocks that may be in the picture, by their corners: starts (3, B) in pixels times depth, and edges (3, 3)."""
    corners = starts[:, None] + (edges @ CORNERS.T)[..., None]  # (3, 8, B)
    x, y, z = corners
    height, width = image_size
    sight = (z > 0).any(axis=0)
    for outside in (x < 0, y < 0, x > width * z, y > height * z):  # no corner on the inner side of a border: none of the block
        sight &= ~(outside & (z > 0)).all(axis=0)
    return sight
