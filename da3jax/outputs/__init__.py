"""Predictions as files: one module a format."""

from __future__ import annotations

import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import numpy as np

from da3jax.config import Config
from da3jax.outputs.atomic import check_writable, nearest_folder
from da3jax.outputs.colmap import check_colmap, write_colmap
from da3jax.outputs.depth_png16 import write_depth_png16
from da3jax.outputs.depth_vis import write_depth_vis
from da3jax.outputs.feat_vis import check_features, write_feat_vis
from da3jax.outputs.glb import write_glb
from da3jax.outputs.gs_ply import write_gs_ply
from da3jax.outputs.kept_inputs import check_inputs_stay
from da3jax.outputs.mesh import write_mesh
from da3jax.outputs.nerfstudio import check_nerfstudio, write_nerfstudio
from da3jax.outputs.npz import write_mini_npz, write_npz
from da3jax.outputs.options import ExportOptions, export_options
from da3jax.outputs.ply import write_ply
from da3jax.outputs.rerun import import_rerun, write_rerun
from da3jax.outputs.video import write_video
from da3jax.outputs.viewer import view
from da3jax.schema import one_of
from da3jax.types import LazyImage, Prediction

__all__ = [
    "FORMATS",
    "ExportOptions",
    "check_folder",
    "check_formats",
    "check_inputs_stay",
    "check_placed",
    "check_writable",
    "export",
    "export_each",
    "export_options",
    "nearest_folder",
    "view",
]

_WRITERS = {
    "npz": write_npz,
    "mini_npz": write_mini_npz,
    "depth_vis": write_depth_vis,
    "depth_png16": write_depth_png16,
    "video": write_video,
    "feat_vis": write_feat_vis,
    "glb": write_glb,
    "ply": write_ply,
    "mesh": write_mesh,
    "gs_ply": write_gs_ply,
    "colmap": write_colmap,
    "nerfstudio": write_nerfstudio,
    "rerun": write_rerun,
}

FORMATS = tuple(_WRITERS)
"""Names that `export_format` accepts, several joined by hyphens."""

_CHECKS = {"colmap": check_colmap, "nerfstudio": check_nerfstudio}
"""Of the folder, for what would be lost."""

_NEED_IMAGES = ("npz", "depth_vis", "glb", "ply", "mesh", "colmap", "nerfstudio", "video", "rerun")
_NEED_CAMERAS = ("colmap", "nerfstudio")

_GAUSSIAN_SHAPES = {"means": (3,), "scales": (3,), "rotations": (4,), "harmonics": (3, 9), "opacities": ()}
"""Behind (N, H, W)."""


def check_formats(export_format: str) -> list[str]:
    """The formats named in, for example, `npz-glb-depth_vis`; a format named twice counts once.

    Raises:
        ValueError: no format, or an unknown one.
        ModuleNotFoundError: one needs an extra that is not installed.
    """
    if not export_format:
        raise ValueError(f"export_format is empty; it is one or more of {', '.join(FORMATS)}, joined by hyphens")
    names = list(dict.fromkeys(export_format.split("-")))
    for name in names:
        one_of("export format", name, FORMATS)
    if "rerun" in names:
        import_rerun()
    return names


def check_placed(
    formats: Sequence[str], views: int, config: Config, *, independent: bool, use_ray_pose: bool = False, intrinsics: bool = False
) -> None:
    """Makes sure, before a network runs, that formats that need cameras will have them, those of several views in one world.

    Args:
        formats: names of formats.
        views: how many images there are.
        config: of the network.
        independent: whether each image is a scene of its own.
        use_ray_pose: whether cameras are made of rays.
        intrinsics: whether any are given.

    Raises:
        ValueError: a format needs them and will not have them; the message names it.
    """
    predicted = use_ray_pose or "cameras" in config.outputs
    for name in formats:
        if name not in _NEED_CAMERAS:
            continue
        if views > 1 and (independent or not predicted):
            raise ValueError(
                f"export format {name!r} needs the cameras of all views in one world; independent images have none, nor have those of a "
                f"network without cameras; glb does without"
            )
        # A metric network's focal length may come from EXIF, which is not read yet.
        if not (predicted or intrinsics or config.canonical_focal):
            raise ValueError(f"export format {name!r} needs intrinsics; {config.name} predicts none, and none are given; glb does without")


def check_folder(formats: Sequence[str], export_dir: str | pathlib.Path, images: Sequence[LazyImage] | None) -> None:
    """Makes sure that formats can be written into a folder, and replace neither what is read nor a model that da3jax has not written.

    Args:
        formats: names of formats.
        export_dir: created if it is not there.
        images: the pictures of the views, if they are known.

    Raises:
        ValueError: as `check_inputs_stay`, or a model would be replaced; the message names what is there.
        OSError: the folder cannot be written.
    """
    check_inputs_stay(formats, export_dir, images)
    for name in formats:
        if name in _CHECKS:
            _CHECKS[name](pathlib.Path(export_dir))
    check_writable(export_dir)


def export(prediction: Prediction, export_format: str, export_dir: str | pathlib.Path, **options: Any) -> list[pathlib.Path]:
    """Writes a prediction into a folder, in one or more formats.

    | format        | files below `export_dir`                   | what they hold                                                  |
    |---------------|--------------------------------------------|-----------------------------------------------------------------|
    | `npz`         | `exports/npz/results.npz`                  | every field of the prediction but points                        |
    | `mini_npz`    | `exports/mini_npz/results.npz`             | the same without images, features and Gaussians                 |
    | `depth_vis`   | `depth_vis/0000.jpg`, ...                  | a photograph beside its coloured inverse depth                  |
    | `depth_png16` | `depth_png16/0000.png`, ..., `scale.json`  | depth in 16-bit steps, worth what `scale.json` says             |
    | `video`       | `video/depth.mp4`, `side_by_side.mp4`      | coloured depth on one scale, alone and beside the photographs   |
    | `feat_vis`    | `feat_vis/layer_I/0000.png`, `layer_I.mp4` | photographs beside the principal components of their features   |
    | `glb`         | `scene.glb`                                | coloured points and camera frusta (see `write_glb`)             |
    | `ply`         | `points.ply`                               | the same points, without cameras (see `write_ply`)              |
    | `mesh`        | `mesh.glb`, `mesh.ply`                     | textured triangles, or coloured at their corners (`write_mesh`) |
    | `gs_ply`      | `gs_ply/0000.ply`                          | 3D Gaussians (see `write_gs_ply`)                               |
    | `colmap`      | `colmap/sparse/0/*.bin`, `colmap/images/`  | cameras, points with tracks, pictures (see `write_colmap`)      |
    | `nerfstudio`  | `nerfstudio/transforms.json` and beside it | cameras, points and pictures (see `write_nerfstudio`)           |
    | `rerun`       | `scene.rrd`                                | points, cameras, pictures and depth (see `write_rerun`)         |

    Options, shapes and the folder are checked before the first file is written. Each file is written whole or not at all, and
    nothing in the folder is touched but the files written.

    Args:
        prediction: N views; numpy or device arrays.
        export_format: names from `FORMATS`, joined by hyphens.
        export_dir: created if it is not there.
        **options: fields of `ExportOptions`.

    Returns:
        The files written, in the order of the formats.

    Raises:
        ValueError: an unknown format or option, an option out of its range, a prediction that a format cannot be made of, `images`
            from a folder that a format writes into or that a copy would replace, or a model there that da3jax has not written.
        OSError: the folder or a file cannot be written.
        ModuleNotFoundError: a format needs an extra that is not installed.
    """
    return [path for files in export_each(prediction, export_format, export_dir, **options) for path in files]


def export_each(prediction: Prediction, export_format: str, export_dir: str | pathlib.Path, **options: Any) -> Iterator[list[pathlib.Path]]:
    """As `export`, which says what it takes and raises, a format at a time: so those files are known that are there when the next fails.

    Yields:
        The files of one format, once they are written. All is checked when the first are asked for.
    """
    names = check_formats(export_format)
    chosen = export_options(**options)
    prediction = jax.tree.map(np.asarray, prediction)
    _check_prediction(prediction, names)
    if chosen.images is not None and len(chosen.images) != len(prediction.depth):
        raise ValueError(
            f"images are {len(chosen.images)} beside a prediction of {len(prediction.depth)} views; there is one picture a view"
        )
    check_folder(names, export_dir, chosen.images)
    for name in names:
        yield _WRITERS[name](prediction, pathlib.Path(export_dir), chosen)


def _check_prediction(prediction: Prediction, formats: list[str]) -> None:
    shape = prediction.depth.shape
    if len(shape) != 3 or 0 in shape:
        raise ValueError(f"depth has the shape {shape}; it is (N, H, W), none of them 0")
    cameras = ("intrinsics", "extrinsics") if shape[0] > 1 else ("intrinsics",)  # one view is where the world is
    missing = [name for name in cameras if getattr(prediction, name) is None]
    images, gaussians = prediction.processed_images, prediction.gaussians
    if "gs_ply" in formats and gaussians is None:
        raise ValueError("export format 'gs_ply' needs Gaussians, and the prediction has none; infer_gs=True of inference computes them")
    for name in formats:
        if images is None and name in _NEED_IMAGES:
            raise ValueError(f"export format {name!r} needs processed_images, and the prediction has none; mini_npz does without")
        if missing and name in _NEED_CAMERAS:
            raise ValueError(
                f"export format {name!r} needs cameras, and the prediction has no {' and no '.join(missing)}; glb does without"
            )
    if "feat_vis" in formats:
        check_features(prediction)
    if images is not None and images.dtype != np.uint8:
        raise ValueError(f"processed_images are of type {images.dtype}; they are uint8")
    for name, value, allowed in (
        ("processed_images", images, [(*shape, 3)]),
        ("conf", prediction.conf, [shape]),
        ("sky", prediction.sky, [shape]),
        ("extrinsics", prediction.extrinsics, [(shape[0], 3, 4), (shape[0], 4, 4)]),
        ("intrinsics", prediction.intrinsics, [(shape[0], 3, 3)]),
        ("from_image", prediction.from_image, [(shape[0], 3, 3)]),
        ("image_sizes", prediction.image_sizes, [(shape[0], 2)]),
        ("network_from_image", prediction.network_from_image, [(shape[0], 3, 3)]),
        *((f"gaussians.{name}", getattr(gaussians, name, None), [(*shape, *tail)]) for name, tail in _GAUSSIAN_SHAPES.items()),
    ):
        if value is not None and value.shape not in allowed:
            raise ValueError(f"{name} has the shape {value.shape}; beside a depth of {shape} it is {' or '.join(map(str, allowed))}")
