"""A scene of coloured points and cameras as binary glTF, for any 3D viewer."""

from __future__ import annotations

import logging
import pathlib

import numpy as np

from da3jax.outputs.atomic import write_bytes
from da3jax.outputs.cameras import view_sizes
from da3jax.outputs.gltf import encode_glb, world_to_scene
from da3jax.outputs.options import ExportOptions
from da3jax.outputs.points import NO_POINTS
from da3jax.outputs.scene import make_scene
from da3jax.types import Prediction

logger = logging.getLogger(__name__)


def write_glb(prediction: Prediction, export_dir: pathlib.Path, options: ExportOptions) -> list[pathlib.Path]:
    """Writes `scene.glb`: `points` with the colours of the photographs, and a wire frustum `camera_I` a view, each of its own hue.

    Frame: vertices are in the prediction's world, as in every other file, and the node above them turns them for viewers, which want y up:
    to the first camera's axes as glTF has them (x right, y up, z backward), with the median of the points at the origin
    (`gltf.world_to_scene`, `gltf.encode_glb`).

    Points: each pixel's centre at its depth, of those that `cleanup.kept_pixels` keeps; of more than `num_max_points`, one in each cube of
    a grid, or a random choice (`thinning`). Colours are sRGB bytes, as in the official export and as most programs for point clouds
    read them; a viewer that takes glTF at its word, by which colours of vertices are linear, shows them lighter.

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

    scene = make_scene(prediction, options, "scene.glb")
    drawn = trimesh.Scene()
    if len(scene.points):
        drawn.add_geometry(trimesh.PointCloud(scene.points, colors=scene.colours), geom_name="points", node_name="points")
    else:
        logger.warning("scene.glb has cameras only: %s", NO_POINTS)
    if options.show_cameras:
        for view, size in enumerate(view_sizes(prediction)):
            frustum = _frustum(scene.intrinsics[view], scene.poses[view], size, scene.camera_size, scene.camera_colours[view])
            drawn.add_geometry(frustum, geom_name=f"camera_{view}", node_name=f"camera_{view}")

    path = export_dir / "scene.glb"
    write_bytes(path, encode_glb(drawn, world_to_scene(scene.extrinsics, scene.points), scene.origin))
    return [path]


def _frustum(intrinsics: np.ndarray, camera_to_world: np.ndarray, image_size: np.ndarray, depth: float, colour: np.ndarray):
    """The camera's centre, joined to the image's four corners at `depth`, joined to each other."""
    from trimesh.path import Path3D
    from trimesh.path.entities import Line

    height, width = image_size
    corners = np.array([[0, 0, 1], [width, 0, 1], [width, height, 1], [0, height, 1]]) @ np.linalg.inv(intrinsics).T
    vertices = np.concatenate([np.zeros((1, 3)), corners * depth]) @ camera_to_world[:3, :3].T + camera_to_world[:3, 3]
    lines = [Line([0, 1, 2, 3, 4, 1]), Line([2, 0, 3]), Line([0, 4])]
    return Path3D(lines, vertices, colors=np.tile([*colour.tolist(), 255], (len(lines), 1)), process=False)
