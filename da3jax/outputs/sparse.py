"""Cameras, pictures and points: what sparse models have in common, whatever their format."""

from __future__ import annotations

import dataclasses
import logging
import pathlib

from da3jax.outputs.options import ExportOptions
from da3jax.outputs.original_cameras import OriginalCameras, original_cameras
from da3jax.outputs.pictures import picture_names, write_pictures
from da3jax.outputs.tracks import Tracks, find_tracks
from da3jax.types import Prediction

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class SparseScene:
    """N pictures with their cameras, and points with their tracks, in the prediction's world."""

    cameras: OriginalCameras
    names: list[str]
    """Of the pictures."""
    tracks: Tracks
    pictures: list[pathlib.Path]
    """Those that were written."""


def make_sparse_scene(prediction: Prediction, options: ExportOptions, folder: pathlib.Path, file: str) -> SparseScene:
    """Finds the points, and writes the pictures into a folder, if `images` is among the options.

    Pictures come first: where a model is, its pictures are there too. Without points, a warning says so.

    Args:
        prediction: N views with cameras and processed images.
        options: `sparse_max_points`, `track_tolerance`, `images`, and what `kept_pixels` reads.
        folder: of the pictures.
        file: what is being written, for messages.

    Raises:
        ValueError: a camera that is no pinhole, or a picture of a wrong size.
        OSError: a picture cannot be read or written.
    """
    cameras = original_cameras(prediction, file)
    names = picture_names(options.images, len(cameras.sizes))
    tracks = find_tracks(prediction, cameras, options)
    if not len(tracks.points):
        logger.warning("%s has cameras only: there is no point that %s", file, "two views agree on" if len(names) > 1 else "has a depth")
    pictures = [] if options.images is None else write_pictures(options.images, names, cameras.sizes, folder)
    return SparseScene(cameras, names, tracks, pictures)
