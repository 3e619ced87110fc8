"""Points that several views agree on, and where each of them sees them."""

from __future__ import annotations

import dataclasses
import itertools

import numpy as np

from da3jax.outputs.cleanup import kept_pixels, valid_depth
from da3jax.outputs.options import ExportOptions
from da3jax.outputs.original_cameras import OriginalCameras
from da3jax.types import Prediction

_SMOOTH = 1.05
"""Depths of four neighbours within this ratio are one surface."""

_LATTICE = (0.7548776662466927, 0.5698402909980532)
"""1/p and 1/p², where p³ = p + 1: x and y times these, modulo 1, rank pixels so that those below any bound lie evenly (Roberts, 2018)."""


@dataclasses.dataclass(frozen=True)
class Tracks:
    """P points and their O observations, those sorted by point and then by view."""

    points: np.ndarray
    """(P, 3) float64, in the world."""
    colours: np.ndarray
    """(P, 3) uint8, the mean over the views that see the point."""
    errors: np.ndarray
    """(P,) pixels of the pictures: mean distance between the observations and the projections of the point."""
    point: np.ndarray
    """(O,) the point that is observed."""
    view: np.ndarray
    """(O,) the view that observes it."""
    place: np.ndarray
    """(O, 2) float64, x and y in the view's picture at its own size; the centre of the first pixel is (0.5, 0.5)."""


def find_tracks(prediction: Prediction, cameras: OriginalCameras, options: ExportOptions) -> Tracks:
    """Lifts pixels to points and looks for each of them in all other views, one view at a time.

    1. Seeds: the pixels that `kept_pixels` keeps, or an even choice of as many as may be written.
    2. A view sees a seed's point where its projection falls into a kept pixel whose depth is that of the point within
       `track_tolerance`, relatively, and not at the rim of a surface, where depth jumps within a pixel. What is hidden behind something
       nearer, or behind the camera, is not seen.
    3. A surface is written once: a seed whose pixel has been taken into the track of an earlier seed of another view is dropped. Points
       that only one view sees are dropped too, unless there is only one view.
    4. The point is the mean, weighted by confidence, of what the views that see it say: the seed, and each other view's depth on its ray
       through the projection, interpolated between the four pixels around (1 / depth is linear on a plane) where all are kept.

    An observation is the place at which the view was asked: the seed's pixel centre, or the projection of the seed, not rounded. It differs
    from the projection of the mean by what the views disagree on, and `errors` says how much. These places come from depth and
    cameras alone: they tell bundle adjustment what the network believes, not something measured apart from it.
    """
    keep, valid = kept_pixels(prediction, options), valid_depth(prediction, options)
    views, height, width = keep.shape
    seeds = _seeds(keep, min(options.num_max_points, options.sparse_max_points), options.seed)  # flat pixels, by view
    starts = np.cumsum([0, *map(len, seeds)])
    seed_view = np.repeat(np.arange(views), np.diff(starts))
    places = [_transform(cameras.to_original[view], np.stack([own % width, own // width], axis=-1) + 0.5) for view, own in enumerate(seeds)]
    depths = [prediction.depth[view].reshape(-1)[own].astype(np.float64) for view, own in enumerate(seeds)]
    lifted = np.concatenate([_lift(place, depth, cameras, view) for view, (place, depth) in enumerate(zip(places, depths, strict=True))])

    count = len(lifted)
    sums, weights, colours = np.zeros((count, 3)), np.zeros(count), np.zeros((count, 3))
    found, claims = [], []
    for view in range(views):
        others = np.flatnonzero(seed_view != view)
        depth = np.where(valid[view], prediction.depth[view].astype(np.float64), 0)
        looked = _look(lifted[others], depth, keep[view], cameras, view, options.track_tolerance)
        seen, own = others[looked.index], np.arange(starts[view], starts[view + 1])

        # Which of this view's seeds have a pixel that is in the track of an earlier view's?
        at = np.full(height * width, -1)
        at[seeds[view]] = own
        earlier = (at[looked.pixel] >= 0) & (seen < starts[view])
        claims.append(np.stack([seen[earlier], at[looked.pixel[earlier]]]))

        points = np.append(_lift(looked.place, looked.depth, cameras, view), lifted[own], axis=0)
        seen, pixel, place = np.append(seen, own), np.append(looked.pixel, seeds[view]), np.append(looked.place, places[view], axis=0)
        weight = np.append(looked.weight, np.ones(len(own)))
        if prediction.conf is not None:
            weight *= np.maximum(prediction.conf[view].reshape(-1)[pixel].astype(np.float64), 1)
        sums[seen] += weight[:, None] * points  # no seed is twice in one view
        weights[seen] += weight
        colours[seen] += prediction.processed_images[view].reshape(-1, 3)[pixel]
        found.append((seen, place))

    points, lengths, errors = sums / weights[:, None], np.zeros(count, int), np.zeros(count)
    for view, (seen, place) in enumerate(found):
        lengths[seen] += 1
        errors[seen] += np.linalg.norm(project(points[seen], cameras, view)[0] - place, axis=-1)
    chosen = _first_of_each_surface(starts, np.concatenate(claims, axis=1)) & (lengths >= min(2, views))

    seed, place = (np.concatenate(parts) for parts in zip(*found, strict=True))
    view = np.repeat(np.arange(views), [len(seen) for seen, _ in found])
    order = np.argsort(seed, kind="stable")  # views stay in order
    order = order[chosen[seed[order]]]
    return Tracks(
        points=points[chosen],
        colours=np.rint(colours[chosen] / lengths[chosen, None]).astype(np.uint8),
        errors=errors[chosen] / lengths[chosen],
        point=(np.cumsum(chosen) - 1)[seed[order]],
        view=view[order],
        place=place[order],
    )


def project(points: np.ndarray, cameras: OriginalCameras, view: int) -> tuple[np.ndarray, np.ndarray]:
    """Where points (P, 3) in the world fall in the picture of a view: (P, 2) pixels, not finite in its plane; and depths (P,) there."""
    in_camera = points @ cameras.rotations[view].T + cameras.translations[view]
    with np.errstate(all="ignore"):
        return _transform(cameras.intrinsics[view], in_camera[:, :2] / in_camera[:, 2:]), in_camera[:, 2]


def _lift(place: np.ndarray, depth: np.ndarray, cameras: OriginalCameras, view: int) -> np.ndarray:
    """The points (P, 3) in the world at places (P, 2) in the picture of a view and depths (P,)."""
    rays = np.concatenate([_transform(np.linalg.inv(cameras.intrinsics[view]), place), np.ones((len(place), 1))], axis=-1)
    return (depth[:, None] * rays - cameras.translations[view]) @ cameras.rotations[view]


def _transform(matrix: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Places (P, 2) under a matrix (3, 3) whose last row is 0 0 1."""
    with np.errstate(all="ignore"):  # some are at infinity
        return place @ matrix[:2, :2].T + matrix[:2, 2]


@dataclasses.dataclass(frozen=True)
class _Looked:
    """What a view says of the points that it sees."""

    index: np.ndarray
    """(K,) which points, ascending."""
    place: np.ndarray
    """(K, 2) their projections in the picture."""
    pixel: np.ndarray
    """(K,) the processed pixels that those fall in, flat."""
    depth: np.ndarray
    """(K,) the view's depth there."""
    weight: np.ndarray
    """(K,) 1 where that is interpolated between kept pixels, 0 where it is the pixel's own."""


def _look(points: np.ndarray, depth: np.ndarray, keep: np.ndarray, cameras: OriginalCameras, view: int, tolerance: float) -> _Looked:
    """Which of the points (P, 3) a view sees, by its depth (H, W), 0 where there is none, and the pixels kept (H, W)."""
    height, width = keep.shape
    place, distance = project(points, cameras, view)
    local = _transform(np.linalg.inv(cameras.to_original[view]), place)
    index = np.flatnonzero((distance > 0) & (local >= 0).all(axis=-1) & (local[:, 0] < width) & (local[:, 1] < height))
    columns, rows = local[index].astype(int).T
    agrees = keep[rows, columns] & (np.abs(depth[rows, columns] - distance[index]) <= tolerance * distance[index])
    index, rows, columns = index[agrees], rows[agrees], columns[agrees]

    # The four pixels around, or at the border those nearest to it. At the rim of a surface nobody knows what lies between them.
    corner = np.clip(np.floor(local[index] - 0.5).astype(int), 0, np.maximum(0, np.array([width, height]) - 2))
    left, top = corner.T
    right, bottom = np.minimum(left + 1, width - 1), np.minimum(top + 1, height - 1)
    around = ((top, left), (top, right), (bottom, left), (bottom, right))
    four = np.stack([depth[at] for at in around])
    smooth = (four.min(axis=0) > 0) & (four.max(axis=0) <= _SMOOTH * four.min(axis=0))

    # Between them 1 / depth is bilinear: exact on a plane, in perspective too.
    x, y = np.where(smooth, (local[index] - 0.5 - corner).T, 0)
    shares = np.stack([(1 - y) * (1 - x), (1 - y) * x, y * (1 - x), y * x])
    between = 1 / (shares / np.where(smooth, four, 1)).sum(axis=0)
    exact = np.logical_and.reduce([keep[at] for at in around]) & (np.abs(between - distance[index]) <= tolerance * distance[index])
    said, pixel = np.where(exact, between, depth[rows, columns]), rows * width + columns
    return _Looked(*(values[smooth] for values in (index, place[index], pixel, said, exact.astype(np.float64))))


def _first_of_each_surface(starts: np.ndarray, claims: np.ndarray) -> np.ndarray:
    """Which seeds stay (P,), bool: those that no seed which stays has claimed.

    Args:
        starts: (N + 1,) the first seed of each view, and their number.
        claims: (2, C) a seed, and one of a later view whose pixel is in its track.
    """
    stays = np.ones(starts[-1], bool)
    claims = claims[:, np.argsort(claims[0], kind="stable")]
    bounds = np.searchsorted(claims[0], starts)
    for first, last in itertools.pairwise(bounds):  # by view: what claims a seed is of an earlier one
        claiming, claimed = claims[:, first:last]
        stays[claimed[stays[claiming]]] = False
    return stays


def _seeds(keep: np.ndarray, most: int, seed: int) -> list[np.ndarray]:
    """By view the flat indices, ascending, of at most `most` kept pixels in all: the same share of each view, evenly spread over it."""
    _, height, width = keep.shape
    counts = np.count_nonzero(keep, axis=(1, 2))
    total = int(counts.sum())
    shares = counts if total <= most else np.diff(np.cumsum(counts) * most // total, prepend=0)
    rank = (np.arange(width) * _LATTICE[0] + np.arange(height)[:, None] * _LATTICE[1]).reshape(-1)
    pixels = []
    for kept, share, start in zip(map(np.flatnonzero, keep), shares, np.random.default_rng(seed).random(len(keep)), strict=True):
        # Another start a view: not the same pixels of each.
        pixels.append(np.sort(kept[np.argsort((rank[kept] + start) % 1, kind="stable")[:share]]))
    return pixels
