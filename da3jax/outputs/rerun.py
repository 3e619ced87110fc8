"""A recording for the Rerun viewer, which is an extra: points, and cameras with their pictures and depth."""

from __future__ import annotations

import pathlib
import types
from collections.abc import Iterator

import numpy as np

from da3jax.outputs.atomic import write_bytes
from da3jax.outputs.cameras import view_sizes
from da3jax.outputs.cleanup import valid_depth
from da3jax.outputs.options import ExportOptions
from da3jax.outputs.scene import make_scene
from da3jax.types import Prediction

_QUALITY = 95
"""Of the JPEG pictures."""


def import_rerun() -> types.ModuleType:
    """The Rerun SDK.

    Raises:
        ModuleNotFoundError: it is not installed; the message says how.
    """
    try:
        import rerun
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("export format 'rerun' needs the Rerun SDK: pip install \"da3jax[rerun]\"", name="rerun") from error
    return rerun


def write_rerun(prediction: Prediction, export_dir: pathlib.Path, options: ExportOptions) -> list[pathlib.Path]:
    """Writes `scene.rrd`, which `rerun scene.rrd` shows. Nothing is started or sent anywhere.

    | entity                  | what is logged, outside of any timeline                                                             |
    |-------------------------|-----------------------------------------------------------------------------------------------------|
    | `world`                 | `ViewCoordinates` RDF: the prediction's world, x right, y down, z forward                           |
    | `world/points`          | `Points3D`, those of `write_glb`                                                                    |
    | `world/camera_I`        | `Transform3D` from the camera to the world, and `Pinhole`; left out with `show_cameras` off         |
    | `world/camera_I/image`  | `EncodedImage`, JPEG                                                                                |
    | `world/camera_I/depth`  | `DepthImage` float32 in the prediction's unit (`meter` 1); 0 in the sky and where there is no depth |

    The 3D view that it opens with leaves the depth images out, for they would show unfiltered points once more. Where known cameras stand
    so far from the origin that float32 does not do, `world` has a `Transform3D` that moves what is below it there.

    The format puts random and time-ordered numbers on its rows, so that only the content is the same from run to run.

    Raises:
        ModuleNotFoundError: as `import_rerun`.
        ValueError: a camera that cannot be inverted, or nothing to show.
        OSError: the file cannot be written, or the environment switches Rerun off.
    """
    rerun = import_rerun()
    scene = make_scene(prediction, options, "scene.rrd")
    origin = scene.origin

    def logged() -> Iterator[tuple[str, list]]:
        """What is said of each entity, in turn."""
        yield "world", [rerun.ViewCoordinates.RDF, *([rerun.Transform3D(translation=origin)] if origin.any() else [])]
        if len(scene.points):
            yield "world/points", [rerun.Points3D((scene.points - origin).astype(np.float32), colors=scene.colours)]
        if not options.show_cameras:
            return
        valid, sizes = valid_depth(prediction, options), view_sizes(prediction).tolist()
        for view, (pose, matrix, (height, width)) in enumerate(zip(scene.poses, scene.intrinsics, sizes, strict=True)):
            camera, seen = f"world/camera_{view}", np.s_[view, :height, :width]
            yield (
                camera,
                [
                    rerun.Transform3D(translation=pose[:3, 3] - origin, mat3x3=pose[:3, :3]),
                    rerun.Pinhole(
                        image_from_camera=matrix,
                        resolution=(width, height),
                        camera_xyz=rerun.ViewCoordinates.RDF,
                        image_plane_distance=scene.camera_size,
                    ),
                ],
            )
            yield f"{camera}/image", [rerun.Image(prediction.processed_images[seen]).compress(jpeg_quality=_QUALITY)]
            yield f"{camera}/depth", [rerun.DepthImage(np.where(valid[seen], prediction.depth[seen], 0).astype(np.float32), meter=1.0)]

    recording = rerun.RecordingStream("da3jax", send_properties=False)
    if not recording.is_enabled():
        raise OSError("scene.rrd cannot be written: the environment variable RERUN switches Rerun off; unset it")
    # In memory first: writing a file by itself, Rerun waits for ever where the disk is full.
    stream = recording.binary_stream()
    recording.send_blueprint(_blueprint())
    for entity, components in logged():
        recording.log(entity, *components, static=True, strict=True)
    recording.disconnect()
    path = export_dir / "scene.rrd"
    write_bytes(path, stream.read(flush=False))
    return [path]


def _blueprint():
    """Points, cameras and pictures in one 3D view."""
    from rerun import blueprint

    return blueprint.Blueprint(
        blueprint.Spatial3DView(origin="/world", contents=["+ $origin/**", "- $origin/*/depth"], name="scene"), auto_views=True
    )
