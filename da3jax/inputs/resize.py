"""Resizing of 8-bit images as OpenCV does it: INTER_AREA to shrink, INTER_CUBIC to grow.

Both are separable: first along x, then along y, each output a weighted sum of a few inputs (its taps).

INTER_AREA is bit-exact: the sums are float32 and taken in OpenCV's order, as the last bit decides about a pixel half-way between two
grey levels. INTER_CUBIC depends on the build: on x86 OpenCV leaves it to Intel's IPP, which keeps the weights as they are; its own code,
used elsewhere, rounds them to 1/2048, and 3 % of the pixels are one grey level off. Ours are as they are: equal to x86 but for ties.
"""

from __future__ import annotations

import numpy as np

_BLOCK = 64  # image rows at a time: the temporary arrays stay in the cache


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
    return _separable(image, _area_taps(image.shape[0], height), _area_taps(image.shape[1], width))


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


def _area_taps(source: int, target: int) -> tuple[np.ndarray, np.ndarray]:
    """For each output, the inputs that its interval [x·scale, (x+1)·scale] covers and the share of each.

    Returns:
        Index and float32 weight, both (target, K); unused taps weigh 0 and come last.
    """
    scale = _scale(source, target)
    start = np.arange(target) * scale
    end = start + scale
    cell = np.minimum(scale, source - start)
    last = np.minimum(np.floor(end).astype(int), source - 1)
    first = np.minimum(np.ceil(start).astype(int), last)
    head, tail = first - start, end - last
    index = np.arange(int((last - first).max()) + 2) + (first - 1)[:, None]
    inside = (index >= first[:, None]) & (index < last[:, None])
    share = inside / cell[:, None]
    share += np.where((index == first[:, None] - 1) & (head > 1e-3)[:, None], (head / cell)[:, None], 0)
    share += np.where((index == last[:, None]) & (tail > 1e-3)[:, None], (np.minimum(np.minimum(tail, 1), cell) / cell)[:, None], 0)
    return index.clip(0, source - 1), share.astype(np.float32)


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
        block = image[top : top + _BLOCK].reshape(-1, width * channels)
        block = np.ascontiguousarray(block.T).reshape(width, -1)  # x first: taps are whole rows of memory
        wide[top : top + _BLOCK] = _weighted_sum(block, *columns).reshape(wide.shape[1], -1).T
    return _to_uint8(_weighted_sum(wide, *rows)).reshape(len(rows[0]), -1, channels)


def _weighted_sum(lines: np.ndarray, index: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Σₖ weight[:, k] · lines[index[:, k]], tap by tap: lines (N, M), index and weight (D, K) -> (D, M) float32."""
    total = lines[index[:, 0]] * weight[:, :1]
    for tap in range(1, index.shape[1]):
        total += lines[index[:, tap]] * weight[:, tap : tap + 1]
    return total


def _to_uint8(values: np.ndarray) -> np.ndarray:
    """Rounds to the nearest, halves to the even number, and clips."""
    return np.rint(values).clip(0, 255).astype(np.uint8)
