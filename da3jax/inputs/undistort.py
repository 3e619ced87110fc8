"""Pictures taken through any lens -> what a pinhole camera at the same place would have seen.

The pinhole camera keeps the focal lengths, so that nothing changes in size at the centre. Its picture is the largest without blank pixels
along each axis, with the principal point at the same fraction of it: what COLMAP's `image_undistorter` makes with its defaults
(`blank_pixels` 0), at most twice as wide and high as the original. It is cut where it would see farther than 60° from the axis to a side,
where a fisheye's pixels would be stretched without end, and where a distortion that was fitted badly folds the picture over.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from da3jax.inputs.lenses import Lens, pixels_from_plane, plane_from_pixels

WIDEST = np.radians(60)
"""From the axis to a side of the pinhole picture."""

_SMALLEST, _LARGEST = 0.2, 2.0  # times the original's width and height: COLMAP's bounds
_GRID = 33  # points along a side that are looked at for blank pixels and folds
_STEP = 1e-3  # pixels
_BLOCK = 2**15  # pixels that are mapped or resampled at a time, to stay in the cache


def pinhole_of(lens: Lens, where: str) -> Lens:
    """The PINHOLE camera of the undistorted pictures of a lens; the lens itself if it is a pinhole.

    Args:
        lens: for images at their own size.
        where: what messages call it.

    Raises:
        ValueError: its principal point lies outside the image, or no part of the image around it can be undistorted.
    """
    if lens.is_pinhole:
        return lens
    (cx, cy), (fx, fy) = lens.centre, lens.focal
    if not (0.5 < cx < lens.width - 0.5 and 0.5 < cy < lens.height - 0.5):
        raise ValueError(
            f"{where} has its principal point at ({cx:g}, {cy:g}), outside its images of {lens.width} × {lens.height} pixels (W × H); "
            f"a lens with distortion should have it inside"
        )
    top, bottom, left, right = _border(lens)
    x, y = _scale(left, right, lens.width, cx, fx), _scale(top, bottom, lens.height, cy, fy)
    for shrink in 0.98 ** np.arange(100):
        pinhole = _pinhole(lens, x * shrink, y * shrink)
        if _is_sound(lens, pinhole):
            return pinhole
    raise ValueError(
        f"{where} is {lens.model} with the distortion {', '.join(f'{value:g}' for value in lens.distortion)}, which leaves no part of "
        f"its images that a pinhole camera could see"
    )


def undistortion_map(lens: Lens, pinhole: Lens) -> np.ndarray:
    """Where each pixel of the pinhole's picture is in the lens's: (2, H, W) float32, x before y, the first pixel's centre being (0, 0)."""
    found = np.empty((2, pinhole.height, pinhole.width), np.float32)
    for rows in _blocks(pinhole.height, pinhole.width):
        x, y = _through(lens, pinhole, np.arange(pinhole.width) + 0.5, np.arange(pinhole.height)[rows] + 0.5)
        # Within half a pixel of the border, the pixel at the border stands in; NaN is not found in a sound picture but between its points.
        found[0, rows], found[1, rows] = (x - 0.5).clip(0, lens.width - 1), (y - 0.5).clip(0, lens.height - 1)
    return np.nan_to_num(found, copy=False)


def resample(image: np.ndarray, places: np.ndarray) -> np.ndarray:
    """A picture (H, W, 3) uint8 at other places (2, h, w) of it, as `undistortion_map` gives them; bilinear: (h, w, 3) uint8."""
    height, width = image.shape[:2]
    channels = [np.ascontiguousarray(image[..., channel]).ravel() for channel in range(3)]  # apart they are gathered five times as fast
    along, down = min(1, width - 1), width * min(1, height - 1)  # to the next pixel; 0 where there is none
    result = np.empty((*places.shape[1:], 3), np.uint8)
    for rows in _blocks(*places.shape[1:]):
        x, y = places[:, rows]
        column, row = (np.minimum(value.astype(np.int64), max(last - 2, 0)) for value, last in ((x, width), (y, height)))
        right, below = x - column.astype(np.float32), y - row.astype(np.float32)
        first = row * width + column
        corners = [first + offset for offset in (0, along, down, down + along)]
        for channel, values in enumerate(channels):
            a, b, c, d = (values.take(corner).astype(np.float32) for corner in corners)
            upper, lower = a + (b - a) * right, c + (d - c) * right
            result[rows, :, channel] = np.rint(upper + (lower - upper) * below)
    return result


def _blocks(height: int, width: int) -> Iterator[slice]:
    """Rows to work on at a time."""
    step = max(1, _BLOCK // width)
    return (slice(top, top + step) for top in range(0, height, step))


def _border(lens: Lens) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Where a pinhole with the same centre and focal lengths sees the outermost pixels: y of top and bottom, x of left and right."""
    (fx, fy), (cx, cy) = lens.focal, lens.centre
    x, y = np.arange(lens.width) + 0.5, np.arange(lens.height) + 0.5
    top, bottom = (plane_from_pixels(lens, x, np.full_like(x, row))[1] * fy + cy for row in (0.5, lens.height - 0.5))
    left, right = (plane_from_pixels(lens, np.full_like(y, column), y)[0] * fx + cx for column in (0.5, lens.width - 0.5))
    return top, bottom, left, right


def _scale(before: np.ndarray, after: np.ndarray, size: int, centre: float, focal: float) -> float:
    """The pinhole picture's size over the original's along one axis, by where it sees the pixels at its two ends."""
    first, last = np.fmax.reduce(before, initial=-np.inf), np.fmin.reduce(after, initial=np.inf)  # NaN: there is nothing in their way
    if first >= centre or last <= centre:  # they are not of this world; what is sound is found from the largest picture
        return _LARGEST
    largest = min(1 / max(centre / (centre - first), (size - 0.5 - centre) / (last - centre), 1e-9), _LARGEST)
    return min(max(largest, _SMALLEST), np.tan(WIDEST) * focal / max(centre, size - centre))


def _pinhole(lens: Lens, x: float, y: float) -> Lens:
    width, height = max(1, int(x * lens.width)), max(1, int(y * lens.height))
    centre = (lens.centre[0] * width / lens.width, lens.centre[1] * height / lens.height)
    return Lens("PINHOLE", width, height, lens.focal, centre)


def _is_sound(lens: Lens, pinhole: Lens) -> bool:
    """Whether the pinhole's picture has no blank pixels, and none that the lens sees mirrored."""
    across, down = (0.5 + np.linspace(0, 1, _GRID) * (size - 1) for size in (pinhole.width, pinhole.height))
    x, y = _through(lens, pinhole, across, down)
    (xu, yu), (xv, yv) = _through(lens, pinhole, across + _STEP, down), _through(lens, pinhole, across, down + _STEP)
    with np.errstate(all="ignore"):
        inside = (x >= 0) & (x <= lens.width) & (y >= 0) & (y <= lens.height)
        upright = (xu - x) * (yv - y) > (yu - y) * (xv - x)
        return bool((inside & upright).all()) and min(pinhole.width, pinhole.height) > 1


def _through(lens: Lens, pinhole: Lens, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where the lens sees what the pinhole sees at columns x (w,) and rows y (h,): x and y (h, w)."""
    x, y = (x - pinhole.centre[0]) / pinhole.focal[0], (y - pinhole.centre[1]) / pinhole.focal[1]
    return pixels_from_plane(lens, *np.meshgrid(x, y))
