"""A scene of coloured points and cameras as binary glTF, for any 3D viewer."""

from __future__ import annotations

import colorsys
import logging
import pathlib
from collections.abc import Iterator

import numpy as np

from da3jax.outputs.atomic import atomic
from da3jax.outputs.cameras import known_or_assumed_cameras
from da3jax.outputs.cleanup import kept_pixels
from da3jax.outputs.options import ExportOptions
from da3jax.types import Prediction

logger = logging.getLogger(__name__)

_CAMERA_SIZE = 0.03
"""Depth of a frustum, as a share of the scene's diagonal."""

_FLIP = np.diag([1.0, -1.0, -1.0, 1.0])
"""Between OpenCV axes (y down, z forward) and those of glTF (y up, z backward)."""


def write_glb(prediction: Prediction, export_dir: pathlib.Path, options: ExportOptions) -> list[pathlib.Path]:
    """Writes `scene.glb`: `points` with the colours of the photographs, and a wire frustum `camera_I` a view, each of its own hue.

    Frame: the first camera's axes turned to glTF's (x right, y up, z backward), with the median of the points at the origin. The
    4 × 4 matrix from the prediction's world to that frame is kept in the file as the scene's extra `world_to_scene`.

    Points: each pixel's centre at its depth, without sky, without depths that are not finite and positive, and without confidences
    below min(max(1.05, p), p90), where p is the percentile asked for; both percentiles are over pixels that are not sky. If more
    than `num_max_points` are left, a random choice in which each pixel has the same chance. Colours are sRGB bytes.

    Without intrinsics a field of view of 60° over the longer side is assumed; without extrinsics the views stand side by side along
    x. Both are said in a warning.

    Args:
        prediction: depth and processed images; the rest as far as it is there.
        export_dir: the folder of `scene.glb`.
        options: above 90, `conf_thresh_percentile` has no further effect. Frusta are 3 % of the diagonal between the points' 5th and 95th
            percentiles deep.

    Raises:
        ValueError: a camera that cannot be inverted, or nothing to draw.
    """
    import trimesh

    keep = kept_pixels(prediction, options)
    intrinsics, extrinsics = known_or_assumed_cameras(prediction, keep, "scene.glb")
    camera_to_scene = _FLIP @ extrinsics[0] @ np.linalg.inv(extrinsics)  # (N, 4, 4), not centred yet

    points, colours = [], []
    for view, chosen in enumerate(_choose(keep, options.num_max_points, options.seed)):
        rows, columns = np.divmod(chosen, keep.shape[2])
        pixels = np.stack([columns + 0.5, rows + 0.5, np.ones(len(rows))], axis=-1)
        in_camera = pixels @ np.linalg.inv(intrinsics[view]).T * prediction.depth[view, rows, columns, None]
        points.append(in_camera @ camera_to_scene[view, :3, :3].T + camera_to_scene[view, :3, 3])
        colours.append(prediction.processed_images[view, rows, columns])
    points, colours = np.concatenate(points), np.concatenate(colours)

    if not len(points):
        if not options.show_cameras:
            raise ValueError("scene.glb would be empty: no pixel outside the sky has a positive finite depth, and cameras are not shown")
        logger.warning("scene.glb has cameras only: no pixel outside the sky has a positive finite depth")
    centre = np.eye(4)
    if len(points):
        centre[:3, 3] = -np.median(points, axis=0)

    scene = trimesh.Scene(metadata={"world_to_scene": (centre @ _FLIP @ extrinsics[0]).tolist()})
    if len(points):
        scene.add_geometry(trimesh.PointCloud(points + centre[:3, 3], colors=colours), geom_name="points", node_name="points")
    if options.show_cameras:
        size = _CAMERA_SIZE * _diagonal(points)
        for view in range(len(intrinsics)):
            frustum = _frustum(intrinsics[view], centre @ camera_to_scene[view], keep.shape[1:], size, (view + 0.5) / len(intrinsics))
            scene.add_geometry(frustum, geom_name=f"camera_{view}", node_name=f"camera_{view}")

    path = export_dir / "scene.glb"
    content = scene.export(file_type="glb")
    with atomic(path) as temp:
        temp.write_bytes(content)
    return [path]


def _choose(keep: np.ndarray, num_max_points: int, seed: int) -> Iterator[np.ndarray]:
    """For each view the flat indices, ascending, of at most `num_max_points` kept pixels in all.

    Each kept pixel has the same chance. Views get their shares by systematic sampling (cumulative counts cut at equal steps from a
    random start), so that nothing as large as all views is ever drawn.
    """
    rng = np.random.default_rng(seed)
    ends = np.cumsum(np.count_nonzero(keep, axis=(1, 2)))
    total = int(ends[-1])
    if total > num_max_points:
        ends = (ends * num_max_points + rng.integers(total)) // total
    for view, share in zip(keep, np.diff(ends, prepend=0), strict=True):
        pixels = np.flatnonzero(view)
        yield pixels if share == len(pixels) else np.sort(rng.choice(pixels, share, replace=False, shuffle=False))


def _diagonal(points: np.ndarray) -> float:
    """Of the box between the 5th and 95th percentiles along each axis; 1 where there is no extent."""
    if not len(points):
        return 1.0
    low, high = np.percentile(points, (5, 95), axis=0)
    return float(np.linalg.norm(high - low)) or 1.0


def _frustum(intrinsics: np.ndarray, camera_to_scene: np.ndarray, image_size: tuple[int, int], depth: float, hue: float):
    """The camera's centre, joined to the image's four corners at `depth`, joined to each other."""
    from trimesh.path import Path3D
    from trimesh.path.entities import Line

    height, width = image_size
    corners = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]]) @ np.linalg.inv(intrinsics).T
    vertices = np.concatenate([np.zeros((1, 3)), corners * depth]) @ camera_to_scene[:3, :3].T + camera_to_scene[:3, 3]
    lines = [Line([0, 1, 2, 3, 4, 1]), Line([2, 0, 3]), Line([0, 4])]
    colour = [*(round(255 * channel) for channel in colorsys.hsv_to_rgb(hue, 0.85, 0.95)), 255]
    return Path3D(lines, vertices, colors=np.tile(colour, (len(lines), 1)), process=False)
