"""Cameras, pictures and sparse points as Nerfstudio, and the many that read its `transforms.json`, take them."""

from __future__ import annotations

import json
import pathlib

import numpy as np

from da3jax.outputs.manifest import is_recorded
from da3jax.outputs.options import ExportOptions
from da3jax.outputs.original_cameras import OriginalCameras
from da3jax.outputs.ply_file import encode_ply
from da3jax.outputs.sparse import make_sparse_scene, write_sparse_scene
from da3jax.types import Prediction

_MODEL = {"camera_model": "OPENCV", "k1": 0.0, "k2": 0.0, "p1": 0.0, "p2": 0.0, "ply_file_path": "sparse_pc.ply"}
"""What the file says beside its frames."""


def check_nerfstudio(export_dir: pathlib.Path) -> None:
    """Makes sure that no model of other origin is where `write_nerfstudio` writes.

    Raises:
        ValueError: there is a `transforms.json` that does not look like one of ours, or was changed since, and would be lost.
    """
    path = export_dir / "nerfstudio" / "transforms.json"
    if is_recorded(export_dir, [path]) is False:
        raise ValueError(f"{path} was changed since da3jax wrote it; move it away, or choose another folder to export to")
    if not _may_be_ours(path):
        raise ValueError(f"{path} is not one that da3jax has written; move it away, or choose another folder to export to")


def write_nerfstudio(prediction: Prediction, export_dir: pathlib.Path, options: ExportOptions) -> list[pathlib.Path]:
    """Writes `nerfstudio/transforms.json`, `nerfstudio/sparse_pc.ply`, and the pictures into `nerfstudio/images`.

    Frame: `transform_matrix` is camera-to-world with OpenGL's camera axes (x right, y up, z backward), which the format demands, in the
    prediction's world, which is not turned: its y points down where the first camera is the world. Nerfstudio turns scenes upright
    when it loads them, unless told otherwise (`--orientation-method`). Points are in the same world.

    Each frame has the intrinsics of its upright picture at its own size, the centre of the first pixel at (0.5, 0.5), and no
    distortion (`OPENCV` with zeros). The points are those of the `colmap` format, in a file like `points.ply`. Pictures are
    written if `images` is among the options, under the names of `picture_names`.

    Args:
        prediction: N views with cameras and processed images.
        export_dir: the folder of `nerfstudio`.
        options: `sparse_max_points`, `track_tolerance`, `images`, and what `kept_pixels` reads.

    Raises:
        ValueError: a camera that is no pinhole, or a picture of a wrong size.
        OSError: a picture cannot be read or a file not be written.
    """
    folder = export_dir / "nerfstudio"
    path = folder / "transforms.json"
    scene = make_sparse_scene(prediction, options, "transforms.json")
    files = {
        folder / "sparse_pc.ply": encode_ply(scene.tracks.points, scene.tracks.colours, is_metric=prediction.is_metric),
        path: _transforms(scene.cameras, scene.names),
    }
    return write_sparse_scene(scene, files, options.images, folder / "images")


def _may_be_ours(path: pathlib.Path) -> bool:
    """Whether the file, if there is one, is made as ours are."""
    try:
        content = json.loads(path.read_bytes())
        return {**content, "frames": None} == {**_MODEL, "frames": None} and all("fl_x" in frame for frame in content["frames"])
    except FileNotFoundError:
        return True
    except (OSError, ValueError, TypeError, KeyError, RecursionError):
        return False


def _transforms(cameras: OriginalCameras, names: list[str]) -> bytes:
    frames = []
    for view, name in enumerate(names):
        k, (height, width) = cameras.intrinsics[view], cameras.sizes[view].tolist()
        rotation = cameras.rotations[view].T
        pose = np.eye(4)
        pose[:3, :3] = rotation * [1, -1, -1]
        pose[:3, 3] = -rotation @ cameras.translations[view]
        lens = {"fl_x": k[0, 0], "fl_y": k[1, 1], "cx": k[0, 2], "cy": k[1, 2]}
        frames.append({"file_path": f"images/{name}", "w": width, "h": height, **lens, "transform_matrix": pose.tolist()})
    model = {**_MODEL, "frames": frames}
    return (json.dumps(model, indent=1, ensure_ascii=False) + "\n").encode()
