"""A COLMAP model and its pictures, for COLMAP itself and for trainers of 3D Gaussians.

Format: COLMAP's documentation, "Output Format", binary; all numbers are little-endian.
"""

from __future__ import annotations

import pathlib
import struct

import numpy as np

from da3jax.outputs.manifest import is_recorded
from da3jax.outputs.options import ExportOptions
from da3jax.outputs.original_cameras import OriginalCameras
from da3jax.outputs.sparse import make_sparse_scene, write_sparse_scene
from da3jax.outputs.tracks import Tracks
from da3jax.types import Prediction

_PINHOLE = 1
"""COLMAP's number of the model with fx, fy, cx, cy."""

_FOREIGN = {"rigs.bin": "COLMAP", "frames.bin": "COLMAP", "points3D.ply": "3D Gaussian Splatting"}
"""Files that would be read beside the model if they are there, and by whom: COLMAP from 3.12 on; the original trainer of Gaussians, which
keeps the points there once it has read them, and then looks no more into `points3D.bin`."""

_ELSEWHERE = "move it away, or choose another folder to export to"

_PARTS = ("cameras", "images", "points3D")
"""A model's files, without their ending."""

_OBSERVATION = np.dtype([("place", "<f8", 2), ("point", "<i8")])
_POINT = np.dtype([("id", "<u8"), ("place", "<f8", 3), ("colour", "u1", 3), ("error", "<f8"), ("length", "<u8")])
"""Packed; a track of image and observation, four bytes each, follows."""

_MODEL = pathlib.Path("colmap", "sparse", "0")
"""Where the model is, below the export folder."""


def check_colmap(export_dir: pathlib.Path) -> None:
    """Makes sure that no model of other origin is where `write_colmap` writes.

    Raises:
        ValueError: the folder holds a file of `_FOREIGN`, which would contradict the new model, one of ours that was changed since, or one
            that does not look like ours; it would be lost, or hidden if it is text.
    """
    folder = export_dir / _MODEL
    for name, reader in _FOREIGN.items():
        if (folder / name).exists():
            raise ValueError(f"{folder / name} belongs to another model, and {reader} would read it with the new one; move it away first")
    recorded = is_recorded(export_dir, [folder / f"{name}.bin" for name in _PARTS])
    if recorded is False:
        raise ValueError(f"{folder} has a COLMAP model that was changed since da3jax wrote it; {_ELSEWHERE}")
    if recorded is None and not _looks_like_ours(folder):
        raise ValueError(f"{folder} has a COLMAP model that da3jax has not written, as far as its files tell; {_ELSEWHERE}")


def write_colmap(prediction: Prediction, export_dir: pathlib.Path, options: ExportOptions) -> list[pathlib.Path]:
    """Writes `colmap/sparse/0/cameras.bin`, `images.bin` and `points3D.bin`, and the pictures into `colmap/images`.

    COLMAP and trainers of 3D Gaussians take the folder `colmap` as it is. The world is the prediction's, at its scale, with COLMAP's axes,
    which are ours. View I of the prediction is image and camera I + 1: a PINHOLE for the upright picture at its own size, with the
    centre of the first pixel at (0.5, 0.5). `find_tracks` says which points there are and who sees them; `error` is the mean
    distance in pixels of the picture between a point's projections and its observations.

    Pictures are written if `images` is among the options; `picture_names` says how they are called, and without them
    `image_0000.png` and so on, for the caller to put there.

    Args:
        prediction: N views with cameras and processed images.
        export_dir: the folder of `colmap`.
        options: `sparse_max_points`, `track_tolerance`, `images`, and what `kept_pixels` reads.

    Raises:
        ValueError: a camera that is no pinhole, or a picture of a wrong size.
        OSError: a picture cannot be read or a file not be written.
    """
    folder = export_dir / _MODEL
    scene = make_sparse_scene(prediction, options, "the COLMAP model")
    model = {
        folder / "cameras.bin": _cameras(scene.cameras),
        folder / "images.bin": _images(scene.cameras, scene.names, scene.tracks),
        folder / "points3D.bin": _points(scene.tracks),
    }
    return write_sparse_scene(scene, model, options.images, export_dir / "colmap" / "images")


def _looks_like_ours(folder: pathlib.Path) -> bool:
    """Whether there is no model, or a binary one that is made as ours are.

    View I is camera and image I + 1, the former a PINHOLE; there are points, 1 to P; and all that an image observes is one of them, in
    their order. A reconstruction from matched features has observations without a point, in the order of features, and most often lenses
    with distortion; a model of known cameras has no observations. So ours without points, too, is taken for one of other origin.
    """
    cameras, images, points = files = [folder / f"{name}.bin" for name in _PARTS]
    if not any(file.exists() for file in files):
        return not any(file.with_suffix(".txt").exists() for file in files)
    try:
        data, found = cameras.read_bytes(), images.read_bytes()
        records = list(struct.iter_unpack("<IiQQ4d", data[8:]))
        if [record[:2] for record in records] != [(view + 1, _PINHOLE) for view in range(len(records))]:
            return False
        if not data[:8] == found[:8] == struct.pack("<Q", len(records)):
            return False
        observed, at = [], 8
        for view in range(len(records)):
            image, *_, camera = struct.unpack_from("<I7dI", found, at)
            end = found.index(b"\0", at + 64) + 1
            (count,) = struct.unpack_from("<Q", found, end)
            at = end + 8 + count * _OBSERVATION.itemsize
            if (image, camera) != (view + 1, view + 1) or at > len(found):
                return False
            observed.append(np.frombuffer(found[end + 8 : at], _OBSERVATION)["point"])
            if (np.diff(observed[-1]) <= 0).any():
                return False
        known = np.unique(np.concatenate(observed))
        if at != len(found) or not len(known) or (known[0], known[-1]) != (1, len(known)):
            return False
        with points.open("rb") as file:
            count = file.read(8)
        size = 8 + len(known) * _POINT.itemsize + 8 * sum(map(len, observed))
        return count == struct.pack("<Q", len(known)) and points.stat().st_size == size
    except (OSError, ValueError, struct.error):  # one of them is missing, or cut off: not as we leave them
        return False


def _cameras(cameras: OriginalCameras) -> bytes:
    parts = [struct.pack("<Q", len(cameras.sizes))]
    for view, ((height, width), k) in enumerate(zip(cameras.sizes.tolist(), cameras.intrinsics, strict=True)):
        parts.append(struct.pack("<IiQQ4d", view + 1, _PINHOLE, width, height, k[0, 0], k[1, 1], k[0, 2], k[1, 2]))
    return b"".join(parts)


def _images(cameras: OriginalCameras, names: list[str], tracks: Tracks) -> bytes:
    parts = [struct.pack("<Q", len(names))]
    for view, (rotation, translation, name) in enumerate(zip(cameras.rotations, cameras.translations, names, strict=True)):
        here = tracks.view == view
        observations = np.empty(np.count_nonzero(here), _OBSERVATION)
        observations["place"], observations["point"] = tracks.place[here], tracks.point[here] + 1
        parts.append(struct.pack("<I7dI", view + 1, *quaternion(rotation), *translation, view + 1))
        parts.append(name.encode() + b"\0" + struct.pack("<Q", len(observations)))
        parts.append(observations.tobytes())
    return b"".join(parts)


def _points(tracks: Tracks) -> bytes:
    count = len(tracks.points)
    ends = np.cumsum(np.bincount(tracks.point, minlength=count))
    heads = np.empty(count, _POINT)
    heads["id"], heads["place"], heads["colour"], heads["error"] = np.arange(count) + 1, tracks.points, tracks.colours, tracks.errors
    heads["length"] = np.diff(ends, prepend=0)
    # How manieth of its image each observation is; there, too, they are sorted by point.
    order = np.argsort(tracks.view, kind="stable")
    number = np.empty_like(order)
    number[order] = np.arange(len(order)) - np.searchsorted(tracks.view[order], tracks.view[order])
    observations = np.stack([tracks.view + 1, number], axis=-1).astype("<u4")
    head, track, size = memoryview(heads.tobytes()), memoryview(observations.tobytes()), heads.itemsize
    parts = [struct.pack("<Q", count)]
    start = 0
    for point, end in enumerate((8 * ends).tolist()):
        parts += head[size * point : size * (point + 1)], track[start:end]
        start = end
    return b"".join(parts)


def quaternion(rotation: np.ndarray) -> np.ndarray:
    """The quaternion wxyz, w ≥ 0, of a rotation (3, 3). NumPy, not `da3jax.geometry`: float64."""
    (xx, xy, xz), (yx, yy, yz), (zx, zy, zz) = rotation
    # Four times the quaternion's products with itself; its row with the longest diagonal is the one without cancellation.
    products = np.array(
        [
            [1 + xx + yy + zz, zy - yz, xz - zx, yx - xy],
            [zy - yz, 1 + xx - yy - zz, xy + yx, xz + zx],
            [xz - zx, xy + yx, 1 - xx + yy - zz, yz + zy],
            [yx - xy, xz + zx, yz + zy, 1 - xx - yy + zz],
        ]
    )
    row = products[np.argmax(np.diag(products))]
    return row / np.linalg.norm(row) * (1 if row[0] >= 0 else -1)
