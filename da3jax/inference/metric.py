"""Metres from outside: lengths that the caller knows give one scale for the whole scene."""

from __future__ import annotations

import dataclasses
import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from operator import index

import jax
import numpy as np

from da3jax.geometry import LengthScale, LengthScaleResult, relative_rounding, scale_from_lengths
from da3jax.inputs import read_image, several
from da3jax.inputs.aruco import find_markers, no_marker
from da3jax.inputs.images import ImageLike, describe
from da3jax.outputs.cameras import view_sizes
from da3jax.types import Prediction

logger = logging.getLogger(__name__)

INNER_SHARE = 0.9
"""Depth counts in this much of a marker's width: at its edge, depth may be that of what is behind."""
FEWEST_PIXELS = 6
"""Of depth inside a marker, twice as many as a plane has unknowns."""

_fit = jax.jit(scale_from_lengths)


def to_metres(
    prediction: Prediction,
    *,
    depth: np.ndarray | Sequence[np.ndarray | None] | None = None,
    camera_distances: Mapping[tuple[int, int], float] | None = None,
    aruco_size: float | None = None,
    images: Sequence[ImageLike] | ImageLike | None = None,
    aruco_dictionary: str = "DICT_4X4_50",
) -> Prediction:
    """The prediction in metres, by one of three sources of lengths that are known.

    Each source gives pairs of a length in the prediction and the true one; one scale for the whole scene is fitted to them, robustly
    (`da3jax.geometry.scale_from_lengths`). It multiplies depth, points, Gaussians, the cameras' translations and the rays' origins,
    and nothing else: `alignment` still says how the network's world became that of the known cameras.

    Args:
        prediction: of one scene, numpy or device arrays; it is not changed.
        depth: (N, h, w), or N maps (h, w), None for a view without: metres along the camera's z axis, NaN or ≤ 0 where unknown. Of any
            size, over the same field of view as the processed images: the prediction counts in which the known pixel's centre lies. Pixels
            predicted to be sky do not count. Of `to_native`, over that of the photographs; of views of several sizes, which share arrays
            there, maps of the arrays' height and width lie as `prediction.depth` does.
        camera_distances: metres between the centres of views i and j, by (i, j), from 0.
        aruco_size: metres, the side of the black square of a printed ArUco marker that is in some of the views; all markers are of this
            size. Its sides and diagonals are measured on the plane that fits the depth inside it.
        images: to find markers in, the N pictures that `inference` was given, at their own size; None looks in the processed ones.
        aruco_dictionary: which set of markers was printed, by OpenCV's name.

    Returns:
        Numpy arrays, `is_metric` True, `scale_factor` with this scale in it, `scale_residual` in metres.

    Raises:
        ValueError: not exactly one source; one that is malformed or does not fit the prediction; independent images; no marker.
        ModuleNotFoundError: markers need OpenCV, an extra.
        OSError: an image that cannot be read.
    """
    sources = {"depth": depth, "camera_distances": camera_distances, "aruco_size": aruco_size}
    given = [name for name, source in sources.items() if source is not None]
    if len(given) != 1:
        raise ValueError(f"to_metres needs one of {', '.join(sources)}; it was given {' and '.join(given) or 'none of them'}")
    prediction = jax.device_get(prediction)
    if prediction.extrinsics is None and len(prediction.depth) > 1:
        raise ValueError(
            f"the prediction has {len(prediction.depth)} images and no cameras (its extrinsics is None), as where each image has a scale "
            f"of its own; ask for 'cameras' in outputs, or predict and scale independent images one at a time"
        )
    if depth is not None:
        lengths, reference = _known_depth(prediction, depth)
    elif camera_distances is not None:
        lengths, reference = _known_distances(prediction, camera_distances)
    else:
        lengths, reference = _marker_lengths(prediction, aruco_size, images, aruco_dictionary)
    room = 1 << max(len(lengths) - 1, 0).bit_length()  # one program for many counts: lengths of 0 do not count
    found = jax.device_get(_fit(*(np.pad(x, (0, room - len(x))).astype(np.float32) for x in (lengths, reference))))
    if found.result != LengthScaleResult.SUCCESS:
        raise ValueError(
            f"{given[0]} determines no scale: no length in it is finite and positive, in metres and in the prediction (sky left out)"
        )
    logger.info(
        "%s: 1 in the prediction is %.6g m, from %.0f %% of %d lengths, which it leaves %.3g m (root mean square) apart",
        given[0], found.scale, 100 * found.inlier_share, len(lengths), found.residual,
    )  # fmt: skip
    return _scaled(prediction, found)


def _scaled(prediction: Prediction, found: LengthScale) -> Prediction:
    """The prediction with every length in it multiplied."""

    def times(x: np.ndarray | None, part: tuple = ()) -> np.ndarray | None:
        """`x` with a part of it multiplied, by default all."""
        if x is None:
            return None
        x = np.array(x)
        x[part] *= found.scale.astype(x.dtype)
        return x

    gaussians = prediction.gaussians
    if gaussians is not None:
        gaussians = dataclasses.replace(gaussians, means=times(gaussians.means), scales=times(gaussians.scales))
    factor = np.asarray(found.scale if prediction.scale_factor is None else prediction.scale_factor * found.scale)
    return dataclasses.replace(
        prediction,
        depth=times(prediction.depth),
        extrinsics=times(prediction.extrinsics, np.s_[..., :3, 3]),
        ray=times(prediction.ray, np.s_[..., 3:]),
        points=times(prediction.points),
        gaussians=gaussians,
        is_metric=True,
        scale_factor=factor,
        scale_residual=np.full(factor.shape, found.residual),
    )


def _usable(prediction: Prediction, view: int) -> np.ndarray:
    """(H, W) bool, where the depth of a view is a length."""
    depth = prediction.depth[view]
    usable = np.isfinite(depth) & (depth > 0)
    return usable if prediction.sky is None else usable & ~prediction.sky[view]


def _known_depth(prediction: Prediction, depth: np.ndarray | Sequence[np.ndarray | None]) -> tuple[np.ndarray, np.ndarray]:
    """Predicted and true depth at the pixels where the latter is known."""
    views, shared = len(prediction.depth), prediction.depth.shape[1:]
    if (maps := len(depth) if np.iterable(depth) else 0) != views:
        raise ValueError(f"depth has {maps} maps for {views} views; it is one map (h, w) a view, None for a view without")
    sizes, lengths, reference = view_sizes(prediction), [], []
    for view, known in enumerate(depth):
        if known is None:
            continue
        try:
            known = np.ma.filled(known, 0) if np.ma.isMaskedArray(known) else np.asarray(known)
        except (TypeError, ValueError):  # ragged
            raise ValueError(f"depth of view {view} is no array of numbers; it is a map (h, w) of metres") from None
        if known.ndim != 2 or known.dtype.kind not in "iuf":
            raise ValueError(f"depth of view {view} is of shape {known.shape} and type {known.dtype}; it is a map (h, w) of metres")
        rows, columns = np.nonzero(np.isfinite(known) & (known > 0))
        height, width = shared if known.shape == shared else sizes[view]
        # The pixel in which the centre lies, in whole numbers.
        at = (2 * rows + 1) * height // (2 * known.shape[0]), (2 * columns + 1) * width // (2 * known.shape[1])
        usable = _usable(prediction, view)[at]
        lengths.append(prediction.depth[view][at][usable])
        reference.append(known[rows, columns][usable])
    return np.concatenate([np.zeros(0, np.float32), *lengths]), np.concatenate([np.zeros(0, np.float32), *reference])


def _known_distances(prediction: Prediction, distances: Mapping[tuple[int, int], float]) -> tuple[np.ndarray, np.ndarray]:
    """Predicted and true distances between cameras."""
    if not isinstance(distances, Mapping) or not distances:
        found = "empty" if isinstance(distances, Mapping) else f"a {type(distances).__name__}"
        raise ValueError(f"camera_distances is {found}; it maps pairs of views (i, j) to the metres between them")
    if prediction.extrinsics is None:
        raise ValueError("camera_distances needs cameras, but the prediction's extrinsics is None")
    views = len(prediction.extrinsics)
    extrinsics = prediction.extrinsics.astype(np.float64)
    centers = -np.einsum("nij,ni->nj", extrinsics[:, :, :3], extrinsics[:, :, 3])
    rounding = relative_rounding(prediction.extrinsics) * np.nanmax(np.abs(centers))  # what cameras in one place can lie apart
    lengths, reference = [], []
    for pair, metres in distances.items():
        try:
            i, j = map(index, pair)
        except (TypeError, ValueError):
            raise ValueError(f"camera_distances has the key {pair!r}; a key is a pair of views (i, j)") from None
        if not (0 <= i < views and 0 <= j < views and i != j):
            raise ValueError(f"camera_distances has the key {pair!r}; a key is two different views from 0 to {views - 1}")
        reference.append(_metres(f"camera_distances of views {i} and {j}", metres))
        lengths.append(np.linalg.norm(centers[i] - centers[j]))
        if not np.isfinite(lengths[-1]):
            raise ValueError(f"camera_distances of views {i} and {j} gives no scale: the prediction's camera of one of them is not finite")
        if lengths[-1] <= rounding:
            raise ValueError(
                f"camera_distances of views {i} and {j} gives no scale: the prediction has them {lengths[-1]:.3g} apart, which may "
                f"be rounding; choose views that it tells apart"
            )
    return np.array(lengths), np.array(reference)


def _marker_lengths(
    prediction: Prediction, size: float, images: Sequence[ImageLike] | ImageLike | None, dictionary: str
) -> tuple[np.ndarray, np.ndarray]:
    """Predicted and true sides and diagonals of all markers that are found."""
    size = _metres("aruco_size", size)
    if prediction.intrinsics is None:
        raise ValueError("aruco_size needs cameras to measure markers with, but the prediction's intrinsics is None")
    lengths, numbers, markers, marked, searched = [], set(), 0, 0, 0
    for view, (image, change) in enumerate(_pictures(prediction, images)):
        found = find_markers(image, dictionary)
        searched, markers, marked = searched + 1, markers + len(found), marked + bool(found)
        for number, quad in found:
            quad = np.column_stack([quad, np.ones(4)]) @ change.T
            corners = _on_plane(quad[:, :2], prediction.depth[view], _usable(prediction, view), prediction.intrinsics[view])
            if corners is None:
                logger.warning(
                    "marker %d in view %d is left out: it has to cover %d pixels of depth, and they have to lie on a plane",
                    number, view, FEWEST_PIXELS,
                )  # fmt: skip
                continue
            numbers.add(number)
            ends = corners[[1, 2, 3, 0, 2, 3]] - corners[[0, 1, 2, 3, 0, 1]]
            lengths.append(np.linalg.norm(ends, axis=-1))
    if not markers:
        raise no_marker(dictionary, searched)
    if not lengths:
        raise ValueError(
            f"none of the {markers} ArUco markers that were found covers {FEWEST_PIXELS} pixels of depth on a plane; "
            f"come nearer to them, or choose a larger process_res"
        )
    logger.info(
        "%d ArUco markers in %d of %d views, %d of them measured, numbers %s", markers, marked, searched, len(lengths), sorted(numbers)
    )
    return np.concatenate(lengths), np.tile(size * np.sqrt([1, 1, 1, 1, 2, 2]), len(lengths))


def _pictures(prediction: Prediction, images: Sequence[ImageLike] | ImageLike | None) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """For each view a picture and the (3, 3) from its pixels to those of the processed image."""
    if images is None:
        if prediction.processed_images is None:
            raise ValueError("aruco_size needs images to find markers in: the prediction has no processed_images, and images is None")
        yield from ((image, np.eye(3)) for image in prediction.processed_images)
        return
    if prediction.from_image is None:
        raise ValueError(
            "images need the prediction's from_image, which is None; without images, markers are looked for in the processed ones"
        )
    images = several(images)
    if len(images) != len(prediction.depth):
        raise ValueError(
            f"there are {len(images)} images for the prediction's {len(prediction.depth)} views; they are those it was made from"
        )
    for view, (image, change) in enumerate(zip(images, prediction.from_image, strict=True)):
        yield read_image(image, describe(image, view)), np.asarray(change, np.float64)


def _on_plane(quad: np.ndarray, depth: np.ndarray, usable: np.ndarray, intrinsics: np.ndarray) -> np.ndarray | None:
    """Corners (4, 2) in pixels as points (4, 3) of the camera's frame on the plane of the depth inside them; None without a plane.

    1 / depth of a plane is affine in the pixel, so that the fit is linear and holds for corners outside the image, too.
    """
    size = depth.shape[::-1]
    inner = quad.mean(axis=0) + INNER_SHARE * (quad - quad.mean(axis=0))
    first = np.clip(np.floor(inner.min(axis=0)), 0, size).astype(int)
    last = np.clip(np.ceil(inner.max(axis=0)), 0, size).astype(int)
    rows, columns = np.mgrid[first[1] : last[1], first[0] : last[0]]
    pixels = np.stack([columns, rows], axis=-1) + 0.5
    sides, to_pixels = np.roll(inner, -1, axis=0) - inner, pixels[..., None, :] - inner
    turns = sides[:, 0] * to_pixels[..., 1] - sides[:, 1] * to_pixels[..., 0]  # (h, w, 4)
    inside = ((turns > 0).all(axis=-1) | (turns < 0).all(axis=-1)) & usable[rows, columns]
    if inside.sum() < FEWEST_PIXELS:
        return None

    def terms(points: np.ndarray) -> np.ndarray:
        return np.column_stack([points - quad.mean(axis=0), np.ones(len(points))])

    plane, _, rank, _ = np.linalg.lstsq(terms(pixels[inside]), 1 / depth[rows, columns][inside].astype(np.float64), rcond=None)
    inverse = terms(quad) @ plane
    if rank < 3 or (inverse <= 0).any():
        return None
    directions = np.linalg.solve(intrinsics.astype(np.float64), np.column_stack([quad, np.ones(4)]).T).T
    return directions / inverse[:, None]


def _metres(what: str, value: float) -> float:
    """`value` if it is a length."""
    try:
        metres = float(value)
    except (TypeError, ValueError):
        metres = math.nan
    if not 0 < metres < math.inf:
        raise ValueError(f"{what} is {value!r}; it is a positive number of metres")
    return metres
