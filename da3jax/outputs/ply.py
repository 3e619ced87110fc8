"""Coloured points as PLY, which every program for point clouds opens."""

from __future__ import annotations

import pathlib

import numpy as np

from da3jax.outputs.atomic import atomic
from da3jax.outputs.cameras import known_or_assumed_cameras
from da3jax.outputs.cleanup import kept_pixels
from da3jax.outputs.options import ExportOptions
from da3jax.outputs.points import NO_POINTS, float32_origin, world_points
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
    number, name = ("<f8", "double") if float32_origin(points).any() else ("<f4", "float")
    vertices = np.empty(len(points), [(axis, number) for axis in "xyz"] + [(channel, "u1") for channel in ("red", "green", "blue")])
    for column, axis in enumerate("xyz"):
        vertices[axis] = points[:, column]
    for column, channel in enumerate(("red", "green", "blue")):
        vertices[channel] = colours[:, column]
    header = [
        "ply",
        "format binary_little_endian 1.0",
        f"comment x right, y down, z forward; {'metres' if prediction.is_metric else 'unit unknown'}",
        f"element vertex {len(points)}",
        *(f"property {name} {axis}" for axis in "xyz"),
        *(f"property uchar {channel}" for channel in ("red", "green", "blue")),
        "end_header\n",
    ]
    path = export_dir / "points.ply"
    with atomic(path) as temp:
        temp.write_bytes("\n".join(header).encode("ascii") + vertices.tobytes())
    return [path]
