"""One view with its truth, and what changes of its picture do to its camera.

NumPy, as all that runs in worker processes: they must not touch the accelerator. Pixels as everywhere: the image spans 0 to width and 0 to
height, so the centre of its first pixel is (0.5, 0.5).
"""

from __future__ import annotations

import dataclasses

import numpy as np

from da3jax.inputs.resize import resize_area, resize_cubic

_MIRROR = np.diag([-1.0, 1, 1])
_TURN = np.array([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])  # what was right is up


@dataclasses.dataclass(frozen=True)
class View:
    """A picture, its depth and its camera."""

    image: np.ndarray
    """(H, W, 3) uint8."""
    depth: np.ndarray
    """(H, W) float32 along the camera's z axis, 0 where not known."""
    sky: np.ndarray
    """(H, W) float32, 1 in the sky, NaN where not known."""
    extrinsics: np.ndarray
    """(3, 4) float64 world-to-camera."""
    intrinsics: np.ndarray
    """(3, 3) float64 pixels, without skew."""


def crop_and_resize(view: View, size: tuple[int, int], scale: float = 1.0, shift: tuple[float, float] = (0.0, 0.0)) -> View:
    """A part of a view at another size.

    Images are averaged to shrink and interpolated by cubics to grow; depth and sky are those of the nearest pixel. The cut is at whole
    pixels, and what that changes of the aspect the focal lengths follow.

    Args:
        view: to cut from.
        size: (height, width) of the result.
        scale: side of the crop as a share of the largest of that aspect.
        shift: (y, x) from −1 to 1, how far the crop lies off the principal point, as a share of the room there is.
    """
    sides = view.depth.shape
    largest = min(side / wanted for side, wanted in zip(sides, size, strict=True))
    cut = [min(side, max(1, round(scale * largest * wanted))) for side, wanted in zip(sides, size, strict=True)]
    centre = view.intrinsics[1, 2], view.intrinsics[0, 2]
    begin = []
    for side, length, middle, share in zip(sides, cut, centre, shift, strict=True):
        room = side - length
        begin.append(round(float(np.clip(middle - length / 2 + share * room / 2, 0, room))))
    rows, columns = (slice(start, start + length) for start, length in zip(begin, cut, strict=True))
    shrinks = cut[0] >= size[0] and cut[1] >= size[1]
    image = (resize_area if shrinks else resize_cubic)(np.ascontiguousarray(view.image[rows, columns]), *size)
    nearest = np.ix_(
        *[start + ((np.arange(n) + 0.5) * (length / n)).astype(int) for start, length, n in zip(begin, cut, size, strict=True)]
    )
    zoom_y, zoom_x = (wanted / length for wanted, length in zip(size, cut, strict=True))
    change = np.array([[zoom_x, 0, -zoom_x * begin[1]], [0, zoom_y, -zoom_y * begin[0]], [0, 0, 1]])
    return View(image, view.depth[nearest], view.sky[nearest], view.extrinsics, change @ view.intrinsics)


def mirror(view: View) -> View:
    """A view of the world mirrored in its x axis by a camera mirrored likewise: left and right change places, the rotation stays one."""
    intrinsics = view.intrinsics.copy()
    intrinsics[0, 2] = view.depth.shape[1] - intrinsics[0, 2]
    extrinsics = np.concatenate([_MIRROR @ view.extrinsics[:, :3] @ _MIRROR, _MIRROR @ view.extrinsics[:, 3:]], axis=1)
    return View(view.image[:, ::-1], view.depth[:, ::-1], view.sky[:, ::-1], extrinsics, intrinsics)


def quarter_turn(view: View) -> View:
    """The view of a camera rolled by 90 degrees, so that its picture is turned anticlockwise."""
    (fx, _, cx), (_, fy, cy), _ = view.intrinsics
    intrinsics = np.array([[fy, 0, cy], [0, fx, view.depth.shape[1] - cx], [0, 0, 1]])
    image, depth, sky = (np.rot90(x) for x in (view.image, view.depth, view.sky))
    return View(image, depth, sky, _TURN @ view.extrinsics, intrinsics)


def relative_to_first(extrinsics: np.ndarray) -> np.ndarray:
    """World-to-camera (S, 3, 4) float64 with the first camera as the world."""
    square = np.concatenate([extrinsics, np.broadcast_to([[[0.0, 0, 0, 1]]], (len(extrinsics), 1, 4))], axis=1)
    return (square @ np.linalg.inv(square[0]))[:, :3]
