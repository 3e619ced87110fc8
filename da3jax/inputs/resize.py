"""Resizing of 8-bit images as OpenCV does it: INTER_AREA to shrink, INTER_CUBIC to grow.

Both are separable: first along x, then along y, each output a weighted sum of a few inputs (its taps).

INTER_AREA is bit-exact: OpenCV's sums are float32 in a certain order, and the last bit decides about a pixel half-way between two grey
levels. Everywhere else any order gives the same pixel, so ours is along y first, a quarter of the work, and the few pixels that rounding
could decide are summed once more in OpenCV's. INTER_CUBIC depends on the build: on x86 OpenCV leaves it to Intel's IPP, which keeps the
weights as they are; its own code, used elsewhere, rounds them to 1/2048, and 3 % of the pixels are one grey level off. Ours are as they
are: equal to x86 but for ties.
"""

from __future__ import annotations

import math

import numpy as np

_BLOCK, _FLOAT_BLOCK = 64, 16  # rows at a time, of 8-bit and of float32 pixels: the temporary arrays stay in the cache


def resize_area(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Each output pixel is the mean of the input pixels it covers, as `cv2.resize(..., interpolation=cv2.INTER_AREA)`.

    Args:
        image: (H, W, C) uint8.
        height: of the result, at most H (growing an axis is `resize_cubic`'s work).
        width: of the result, at most W.

    Returns:
        (height, width, C) uint8.

    Raises:
        ValueError: an axis would grow.
    """
    if height > image.shape[0] or width > image.shape[1]:
        raise ValueError(f"an image of {image.shape[1]} × {image.shape[0]} cannot be averaged to {width} × {height}: only shrinking can")
    if (height, width) == image.shape[:2]:
        return image
    steps = _scale(image.shape[0], height), _scale(image.shape[1], width)
    if all(step.is_integer() for step in steps):
        return _block_mean(image, *map(int, steps))
    return _area_mean(image, height, width)


def resize_cubic(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Cubic convolution with a = -0.75, edges repeated, as `cv2.resize(..., interpolation=cv2.INTER_CUBIC)`.

    Always four taps an axis: an axis that shrinks is not low-passed.

    Args:
        image: (H, W, C) uint8.
        height: of the result.
        width: of the result.

    Returns:
        (height, width, C) uint8.
    """
    if (height, width) == image.shape[:2]:
        return image
    return _separable(image, _cubic_taps(image.shape[0], height), _cubic_taps(image.shape[1], width))


def _scale(source: int, target: int) -> float:
    """Input pixels an output pixel, with OpenCV's two roundings: 1 / (target / source) is not always source / target."""
    return 1.0 / (target / source)


def _block_mean(image: np.ndarray, step_y: int, step_x: int) -> np.ndarray:
    """INTER_AREA for whole steps: integer sums, one multiplication."""
    height, width, channels = image.shape[0] // step_y, image.shape[1] // step_x, image.shape[2]
    total = image.reshape(height, step_y, -1).sum(axis=1, dtype=np.uint32)
    total = total.reshape(height, width, step_x, channels).sum(axis=2, dtype=np.uint32)
    if step_y == step_x == 2:
        return ((total + 2) >> 2).astype(np.uint8)  # halves go up here, to the even number everywhere else
    return _to_uint8(total.astype(np.float32) * np.float32(1 / (step_y * step_x)))


def _area_mean(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """INTER_AREA for any other steps."""
    rows, columns = _area_taps(image.shape[0], height), _area_taps(image.shape[1], width)
    covered = _coverage(image.shape[0], height)
    sums = np.empty((height, width * image.shape[2]), np.float32)
    for top in range(0, height, _FLOAT_BLOCK):
        block = slice(top, top + _FLOAT_BLOCK)
        sums[block] = _along_x(_mean_rows(image, *(x[..., block] for x in covered)), columns, image.shape[1])
    means = np.rint(sums)
    # All terms are positive: a rounding moves a sum by at most 2⁻²⁴ of it, and neither sum has many more of them than there are taps.
    taps = rows[0].shape[1], columns[0].shape[1]
    error = 2 * 255 * (sum(taps) + 8) * 2.0**-24
    close = np.flatnonzero(np.abs(sums - means) >= 0.5 - error)
    if len(close) * math.prod(taps) > image.size // 4:  # a drawing of few grey levels may be half-way everywhere
        return _separable(image, rows, columns)
    means = means.astype(np.uint8).reshape(height, width, -1)
    places = np.unravel_index(close, means.shape)
    means[places] = _to_uint8(_in_order(image, rows, columns, *places))
    return means


def _mean_rows(image: np.ndarray, first: np.ndarray, last: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """The rows that `_coverage` describes, of the image shrunk along y alone, (P, W · C) float32. Whole rows are summed as integers."""
    lines = image.reshape(image.shape[0], -1)
    kind = np.uint16 if (last - first).max() * 255 < 2**16 else np.uint32
    means = np.empty((len(first), lines.shape[1]), np.float32)
    for mean, start, end, (head, whole, tail) in zip(means, first, last, shares.T, strict=True):
        np.multiply(lines[start:end].sum(axis=0, dtype=kind), whole, out=mean, casting="same_kind")
        for share, edge in ((head, start - 1), (tail, end)):
            if share > 0:
                line = lines[edge].astype(np.float32)  # a cast of its own is faster than one within a product
                line *= share
                mean += line
    return means


def _in_order(
    image: np.ndarray,
    rows: tuple[np.ndarray, np.ndarray],
    columns: tuple[np.ndarray, np.ndarray],
    y: np.ndarray,
    x: np.ndarray,
    channel: np.ndarray,
) -> np.ndarray:
    """What `_separable` sums up to at some places (N,) of the output, to the last bit: (N,) float32."""
    inputs = image[rows[0][y][:, :, None], columns[0][x][:, None, :], channel[:, None, None]]  # (N, K along y, K along x)
    return _running_sum(_running_sum(inputs * columns[1][x][:, None, :]) * rows[1][y])


def _running_sum(terms: np.ndarray) -> np.ndarray:
    """Over the last axis, from its first to its last, which `np.sum` does not promise."""
    total = terms[..., 0].copy()
    for tap in range(1, terms.shape[-1]):
        total += terms[..., tap]
    return total


def _coverage(source: int, target: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """What the interval [x·scale, (x+1)·scale] of each output covers of the inputs.

    Returns:
        The first input that it covers whole and the one after the last, (target,) int; and the shares, (3, target) float32, of the input
        before the first, of each whole one, and of the one after them. Where that is none, the share is 0.
    """
    scale = _scale(source, target)
    start = np.arange(target) * scale
    end = start + scale
    cell = np.minimum(scale, source - start)
    last = np.minimum(np.floor(end).astype(int), source - 1)
    first = np.minimum(np.ceil(start).astype(int), last)
    head, tail = first - start, end - last
    head = np.where(head > 1e-3, head, 0)
    tail = np.where(tail > 1e-3, np.minimum(np.minimum(tail, 1), cell), 0)
    return first, last, (np.stack([head, np.ones(target), tail]) / cell).astype(np.float32)


def _area_taps(source: int, target: int) -> tuple[np.ndarray, np.ndarray]:
    """Which inputs each output is the sum of, and by which weights.

    Returns:
        Index and float32 weight, both (target, K); unused taps weigh 0.
    """
    first, last, (head, whole, tail) = (x[..., None] for x in _coverage(source, target))
    index = np.arange((last - first).max() + 2) + first - 1
    weight = np.where(index < first, head, np.where(index < last, whole, np.where(index == last, tail, np.float32(0))))
    return index.clip(0, source - 1), weight


def _cubic_taps(source: int, target: int) -> tuple[np.ndarray, np.ndarray]:
    """The four neighbours of each output, pixel centres at half-integers, and the cubic's value at their distances.

    Returns:
        Index and float32 weight, both (target, 4).
    """
    position = (np.arange(target) + 0.5) * _scale(source, target) - 0.5
    left = np.floor(position)
    offset = np.arange(-1, 3)
    t = np.abs((position - left)[:, None] - offset)  # distances in [0, 2]
    a = -0.75
    weight = np.where(t <= 1, ((a + 2) * t - (a + 3)) * t * t + 1, ((a * t - 5 * a) * t + 8 * a) * t - 4 * a)
    return (left[:, None].astype(int) + offset).clip(0, source - 1), weight.astype(np.float32)


def _separable(image: np.ndarray, rows: tuple[np.ndarray, np.ndarray], columns: tuple[np.ndarray, np.ndarray]) -> np.ndarray:
    """Interpolates along x, then along y."""
    height, width, channels = image.shape
    wide = np.empty((height, len(columns[0]) * channels), np.float32)
    for top in range(0, height, _BLOCK):
        wide[top : top + _BLOCK] = _along_x(image[top : top + _BLOCK].reshape(-1, width * channels), columns, width)
    return _to_uint8(_weighted_sum(wide, *rows)).reshape(len(rows[0]), -1, channels)


def _along_x(block: np.ndarray, columns: tuple[np.ndarray, np.ndarray], width: int) -> np.ndarray:
    """Rows (N, W · C) -> (N, D · C) float32."""
    turned = np.ascontiguousarray(block.T).reshape(width, -1)  # taps are whole rows of memory
    return _weighted_sum(turned, *columns).reshape(-1, len(block)).T


def _weighted_sum(lines: np.ndarray, index: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Σₖ weight[:, k] · lines[index[:, k]], tap by tap: lines (N, M), index and weight (D, K) -> (D, M) float32."""
    total = lines[index[:, 0]] * weight[:, :1]
    for tap in range(1, index.shape[1]):
        total += lines[index[:, tap]] * weight[:, tap : tap + 1]
    return total


def _to_uint8(values: np.ndarray) -> np.ndarray:
    """Rounds to the nearest, halves to the even number, and clips."""
    return np.rint(values).clip(0, 255).astype(np.uint8)
