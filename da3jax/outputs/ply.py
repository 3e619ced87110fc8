"""Coloured points as PLY, which every program for point clouds opens."""

from __future__ import annotations

import pathlib

from da3jax.outputs.atomic import write_bytes
from da3jax.outputs.cameras import known_or_assumed_cameras
from da3jax.outputs.cleanup import kept_pixels
from da3jax.outputs.options import ExportOptions
from da3jax.outputs.ply_file import encode_ply
from da3jax.outputs.points import NO_POINTS, world_points
from da3jax.types import Prediction


def write_ply(prediction: Prediction, export_dir: pathlib.Path, options: ExportOptions) -> list[pathlib.Path]:
    """Writes `points.ply`, binary little endian: `x`, `y`, `z`, and `red`, `green`, `blue` as sRGB bytes.

    Points are those of `write_glb`, in the prediction's world with its own axes (OpenCV: x right, y down, z forward), at its scale, in
    the order of views, rows and columns. Coordinates are `float`, and `double` where float would move points by more than a millionth
    of the scene, as when known cameras stand far from the origin.

    Raises:
        ValueError: a camera that cannot be inverted, or no point at all.
    """
    keep = kept_pixels(prediction, options)
    if not keep.any():
        raise ValueError(f"points.ply would be empty: {NO_POINTS}")
    points, colours = world_points(prediction, keep, *known_or_assumed_cameras(prediction, keep, "points.ply"), options)
    path = export_dir / "points.ply"
    write_bytes(path, encode_ply(points, colours, is_metric=prediction.is_metric))
    return [path]
