"""Printed markers of known size in a picture, found by OpenCV, which is an extra."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from da3jax.inputs.images import ImageLike, describe, read_image
from da3jax.schema import one_of


def check_markers(images: Sequence[ImageLike], dictionary: str = "DICT_4X4_50") -> None:
    """Raises `no_marker` unless one of the images, (H, W, 3) or files, shows one; and what `find_markers` and `read_image` raise."""
    if not any(find_markers(read_image(image, describe(image, index)), dictionary) for index, image in enumerate(images)):
        raise no_marker(dictionary, len(images))


def no_marker(dictionary: str, count: int) -> ValueError:
    """What is to be said where none of `count` images shows a marker."""
    return ValueError(
        f"no ArUco marker of {dictionary} is in any of the {count} images; aruco_size needs one in at least one of them, sharp and "
        f"with its white margin, and aruco_dictionary to be the set it was printed from"
    )


def find_markers(image: np.ndarray, dictionary: str = "DICT_4X4_50") -> list[tuple[int, np.ndarray]]:
    """The ArUco markers of a picture (H, W, 3), uint8 RGB.

    Args:
        image: at its own size, not mirrored.
        dictionary: which set of markers was printed, by OpenCV's name, such as `DICT_4X4_50` or `DICT_APRILTAG_36h11`.

    Returns:
        For each marker its number and the corners (4, 2) float64 of its black square, x before y, to a fraction of a pixel: clockwise from
        the one that is top left in the printed marker. The image spans 0 to W and 0 to H, so the first pixel's centre is (0.5, 0.5).
        By number, then from left to right.

    Raises:
        ModuleNotFoundError: OpenCV is not installed; the message says how.
        ValueError: an unknown dictionary.
    """
    try:
        import cv2
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError('finding ArUco markers needs OpenCV: pip install "da3jax[aruco]"', name="cv2") from error
    one_of("ArUco dictionary", dictionary, [name for name in dir(cv2.aruco) if name.startswith("DICT_")])
    # A white margin cut as narrow as a cell has an outline of its own, that the default takes for a better drawn border of the marker.
    parameters = cv2.aruco.DetectorParameters()
    parameters.minMarkerDistanceRate = 0.05
    markers = cv2.aruco.getPredefinedDictionary(getattr(cv2.aruco, dictionary))
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    corners, numbers, _ = cv2.aruco.ArucoDetector(markers, parameters).detectMarkers(grey)
    found = []
    for number, quad in zip([] if numbers is None else numbers.ravel(), corners, strict=True):
        quad = quad.reshape(4, 2).astype(np.float64)
        for _ in range(3):
            quad = _onto_edges(grey, quad, markers.markerSize + 2)
        found.append((int(number), quad + 0.5))  # OpenCV's first pixel has its centre at (0, 0)
    return sorted(found, key=lambda marker: (marker[0], *marker[1].ravel()))


def _onto_edges(grey: np.ndarray, quad: np.ndarray, cells: int) -> np.ndarray:
    """Corners (4, 2) moved to where the lines through the four edges from black to white meet.

    OpenCV's own sub-pixel corners lie about 0.15 pixels inside, so that a marker of 40 pixels would come out 1 % small.
    """
    import cv2

    lines = []
    for start, end in zip(quad, np.roll(quad, -1, axis=0), strict=True):
        length = np.linalg.norm(end - start)
        along = (end - start) / length
        outward = np.array([along[1], -along[0]])  # the corners run clockwise
        reach = min(length / cells / 2, 3.0)  # pixels; no farther than the middle of the black border
        at, steps = np.linspace(0.1, 0.9, max(8, int(length))) * length, np.linspace(-reach, reach, 13)
        x, y = np.moveaxis(start + at[:, None, None] * along + steps[:, None] * outward, -1, 0).astype(np.float32)
        rise = np.maximum(np.diff(cv2.remap(grey, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE).astype(np.float64)), 0) + 1e-6
        edge = (rise * (steps[1:] + steps[:-1]) / 2).sum(axis=1) / rise.sum(axis=1)  # pixels outward, at each sample
        points = start + at[:, None] * along + edge[:, None] * outward
        vx, vy, px, py = cv2.fitLine(points.astype(np.float32), cv2.DIST_HUBER, 0, 0.01, 0.01).ravel().astype(np.float64)
        lines.append([vy, -vx, vx * py - vy * px])
    corners = np.cross(np.roll(lines, 1, axis=0), lines)
    return corners[:, :2] / corners[:, 2:]
