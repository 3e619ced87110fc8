"""What viewers show of a prediction: coloured points, and cameras."""

from __future__ import annotations

import colorsys
import dataclasses

import numpy as np

from da3jax.outputs.cameras import known_or_assumed_cameras
from da3jax.outputs.cleanup import kept_pixels
from da3jax.outputs.options import ExportOptions
from da3jax.outputs.points import NO_POINTS, diagonal, float32_origin, world_points
from da3jax.types import Prediction

_CAMERA_SIZE = 0.03
"""Depth of a frustum, as a share of the scene's diagonal."""


@dataclasses.dataclass(frozen=True)
class Scene:
    """P points and N cameras, in the prediction's world."""

    points: np.ndarray
    """(P, 3) float64."""
    colours: np.ndarray
    """(P, 3) uint8 sRGB."""
    intrinsics: np.ndarray
    """(N, 3, 3) pixels."""
    extrinsics: np.ndarray
    """(N, 4, 4) world-to-camera."""
    poses: np.ndarray
    """(N, 4, 4) camera-to-world."""
    diagonal: float
    """Of the points (`points.diagonal`)."""
    camera_size: float
    """How deep a frustum is drawn."""
    camera_colours: np.ndarray
    """(N, 3) uint8 sRGB, each camera of its own hue."""
    origin: np.ndarray
    """(3,) from where float32 coordinates do (`points.float32_origin`)."""


def make_scene(prediction: Prediction, options: ExportOptions, file: str) -> Scene:
    """The points that `cleanup.kept_pixels` keeps, thinned to `num_max_points`, and the cameras, assumed where nobody knows them.

    Args:
        prediction: N views with processed images.
        options: those of `kept_pixels` and `world_points`, and `show_cameras`.
        file: what is being written, for messages.

    Raises:
        ValueError: a camera that cannot be inverted, or nothing to show.
    """
    keep = kept_pixels(prediction, options)
    intrinsics, extrinsics = known_or_assumed_cameras(prediction, keep, file)
    points, colours = world_points(prediction, keep, intrinsics, extrinsics, options)
    if not len(points) and not options.show_cameras:
        raise ValueError(f"{file} would be empty: {NO_POINTS}, and cameras are not shown")
    poses, size = np.linalg.inv(extrinsics), diagonal(points)
    origin = float32_origin(points if len(points) else poses[:, :3, 3])
    hues = (np.arange(len(poses)) + 0.5) / len(poses)
    camera_colours = np.array([[round(255 * channel) for channel in colorsys.hsv_to_rgb(hue, 0.85, 0.95)] for hue in hues], np.uint8)
    return Scene(points, colours, intrinsics, extrinsics, poses, size, _CAMERA_SIZE * size, camera_colours, origin)
