"""Cameras, pictures and points: what sparse models have in common, whatever their format."""

from __future__ import annotations

import dataclasses
import logging
import pathlib
from collections.abc import Mapping, Sequence

from da3jax.outputs.atomic import together
from da3jax.outputs.options import ExportOptions
from da3jax.outputs.original_cameras import OriginalCameras, original_cameras
from da3jax.outputs.pictures import picture_names, write_pictures
from da3jax.outputs.tracks import Tracks, find_tracks
from da3jax.types import LazyImage, Prediction

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class SparseScene:
    """N pictures with their cameras, and points with their tracks, in the prediction's world."""

    cameras: OriginalCameras
    names: list[str]
    """Of the pictures."""
    tracks: Tracks


def make_sparse_scene(prediction: Prediction, options: ExportOptions, file: str) -> SparseScene:
    """Finds the cameras of the pictures and the points. Without points, a warning says so.

    Args:
        prediction: N views with cameras and processed images.
        options: `sparse_max_points`, `track_tolerance`, `images`, and what `kept_pixels` reads.
        file: what is being written, for messages.

    Raises:
        ValueError: a camera that is no pinhole.
    """
    cameras = original_cameras(prediction, file)
    names = picture_names(options.images, len(cameras.sizes))
    tracks = find_tracks(prediction, cameras, options)
    if not len(tracks.points):
        logger.warning("%s has cameras only: there is no point that %s", file, "two views agree on" if len(names) > 1 else "has a depth")
    return SparseScene(cameras, names, tracks)


def write_sparse_scene(
    scene: SparseScene, model: Mapping[pathlib.Path, bytes], images: Sequence[LazyImage] | None, folder: pathlib.Path
) -> list[pathlib.Path]:
    """Writes a model and its pictures, all of them or none, so that no cameras are left beside the pictures of another scene.

    Args:
        scene: N pictures.
        model: files and what they are to hold.
        images: the pictures, if they are to be written.
        folder: of the pictures.

    Returns:
        The files of the model, then the pictures.

    Raises:
        ValueError: a picture of a wrong size.
        OSError: a picture cannot be read or a file not be written.
    """
    with together() as write:  # the pictures first: where a model is, its pictures are there too
        pictures = [] if images is None else write_pictures(images, scene.names, scene.cameras.sizes, folder, write)
        for path, content in model.items():
            write(path, content)
    return [*model, *pictures]
