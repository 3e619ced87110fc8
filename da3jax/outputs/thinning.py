"""Fewer points, none of them preferred for its view or its place in the list."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

_FINEST = 2.0**-40
"""The smallest cell that is tried, as a share of the extent."""

_ENOUGH = 0.99
"""A grid is fine enough with so much of the number of points asked for."""

_MIX = np.array([0x9E3779B97F4A7C15, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9], np.uint64)
"""Odd numbers without a pattern: cells get one 64-bit key, and 3 million cells a chance below one in a million that any two share it."""


def choose_pixels(keep: np.ndarray, most: int, seed: int) -> Iterator[np.ndarray]:
    """For each view the flat indices, ascending, of at most `most` kept pixels in all, drawn at random.

    Each kept pixel of `keep` (N, H, W) has the same chance. Views get their shares by systematic sampling (cumulative counts cut at
    equal steps from a random start), so that nothing as large as all views is ever drawn.
    """
    rng = np.random.default_rng(seed)
    ends = np.cumsum(np.count_nonzero(keep, axis=(1, 2)))
    total = int(ends[-1])
    if total > most:
        ends = (ends * most + rng.integers(total)) // total
    for view, share in zip(keep, np.diff(ends, prepend=0), strict=True):
        pixels = np.flatnonzero(view)
        yield pixels if share == len(pixels) else np.sort(rng.choice(pixels, share, replace=False, shuffle=False))


def thin_by_voxels(points: np.ndarray, most: int) -> np.ndarray:
    """Chooses one point in each occupied cell of a grid of cubes, the finest of at most `most` occupied cells, up to 1 %.

    Density becomes even, and what several views have seen counts once. Of a cell's points, the nearest to their mean is chosen: a point
    that was measured, with its own colour, whichever view it is of. The mean is moved a thousandth of the way to the cell's centre first,
    so that of two points, each as near to their mean, neither their order nor rounding decides.

    Args:
        points: (P, 3) finite, of any extent.
        most: at least 1.

    Returns:
        Indices of the points that are chosen, ascending; all, if they are no more than `most`.
    """
    if len(points) <= most:
        return np.arange(len(points))
    offsets = points - points.min(axis=0)
    size = _cell_size(offsets, most)
    keys = _cells(offsets, size)
    order = np.argsort(keys, kind="stable")
    first = np.flatnonzero(np.diff(keys[order], prepend=~keys[order[:1]]))
    counts = np.diff(first, append=len(order))

    offsets = offsets[order]
    centres = (np.floor(offsets[first] / size) + 0.5) * size
    target = 0.999 * np.add.reduceat(offsets, first) / counts[:, None] + 0.001 * centres
    distances = np.square(offsets - np.repeat(target, counts, axis=0)).sum(axis=-1)
    nearest = np.flatnonzero(distances == np.repeat(np.minimum.reduceat(distances, first), counts))
    cell = np.repeat(np.arange(len(first)), counts)[nearest]
    return np.sort(order[nearest[np.diff(cell, prepend=-1) > 0]])


def _cell_size(offsets: np.ndarray, most: int) -> float:
    """The side of the smallest cubes of which at most `most` are occupied, up to 1 % of `most` or a thousandth of the side."""
    extent = float(offsets.max()) or 1.0
    low, high = _FINEST * extent, 1.01 * extent  # too small, as far as is known; large enough, for all is in one
    size, power, before = 3 * offsets.std() / np.sqrt(most), -2.0, None  # surfaces occupy cells by the square
    for step in range(40):
        if not low < size < high or step > 12:
            size = np.sqrt(low * high)
        count = 1 + np.count_nonzero(np.diff(np.sort(_cells(offsets, size))))
        low, high = (size, high) if count > most else (low, size)
        if high / low < 1.001 or _ENOUGH * most <= count <= most:
            break
        if before is not None and before[0] != size and before[1] != count:
            power = np.clip(np.log(count / before[1]) / np.log(size / before[0]), -3, -0.2)
        before = size, count
        size *= ((1 + _ENOUGH) / 2 * most / count) ** (1 / power)
    return high


def _cells(offsets: np.ndarray, size: float) -> np.ndarray:
    """(P,) uint64, one number a cell."""
    keys = np.zeros(len(offsets), np.uint64)
    for axis, mix in enumerate(_MIX):
        keys += np.floor(offsets[:, axis] / size).astype(np.uint64) * mix
    return keys
