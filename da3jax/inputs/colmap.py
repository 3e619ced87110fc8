"""Cameras and poses of a COLMAP model, text or binary; its points are not read.

Formats: COLMAP's documentation, "Output Format".
"""

from __future__ import annotations

import dataclasses
import pathlib
import struct
from collections.abc import Iterator

import numpy as np

from da3jax.schema import one_of

_MODELS = {
    "SIMPLE_PINHOLE": 3,
    "PINHOLE": 4,
    "SIMPLE_RADIAL": 4,
    "RADIAL": 5,
    "OPENCV": 8,
    "OPENCV_FISHEYE": 8,
    "FULL_OPENCV": 12,
    "FOV": 5,
    "SIMPLE_RADIAL_FISHEYE": 4,
    "RADIAL_FISHEYE": 5,
    "THIN_PRISM_FISHEYE": 12,
}
"""Number of parameters, in the order of COLMAP's model ids."""

_ONE_FOCAL = ("SIMPLE_PINHOLE", "SIMPLE_RADIAL", "RADIAL")
_TWO_FOCALS = ("PINHOLE", "OPENCV", "FULL_OPENCV")

_POINT = 24  # bytes of a 2D point: x, y, id


@dataclasses.dataclass(frozen=True)
class ColmapView:
    """One registered image."""

    extrinsics: np.ndarray
    """(3, 4) float64 world-to-camera."""
    intrinsics: np.ndarray
    """(3, 3) float64 pixels."""
    height: int
    """Pixels of the image that the intrinsics are for."""
    width: int


def read_colmap(folder: pathlib.Path) -> dict[str, ColmapView]:
    """The registered images of a model by name, which is the file's path inside the folder of images.

    Args:
        folder: holds `cameras` and `images`, both `.bin` or both `.txt`; binary is preferred.

    Raises:
        FileNotFoundError: there is neither pair of files.
        ValueError: a file is cut short or damaged; an image's camera is not in the model, or is not a pinhole.
    """
    both = [(folder / f"cameras{ending}", folder / f"images{ending}") for ending in (".bin", ".txt")]
    files = next((files for files in both if all(file.exists() for file in files)), None)
    if files is None:
        raise FileNotFoundError(f"{folder} has no COLMAP model: neither cameras.bin and images.bin nor cameras.txt and images.txt")
    cameras, images = (_binary_cameras, _binary_images) if files[0].suffix == ".bin" else (_text_cameras, _text_images)
    known = {number: camera for number, *camera in _parsed(files[0], cameras)}
    views = {}
    for quaternion, translation, number, name in _parsed(files[1], images):
        if number not in known:
            raise ValueError(f"{files[1]} gives {name} the camera {number}, which {files[0].name} does not have")
        model, width, height, parameters = known[number]
        pose = np.concatenate([_rotation(quaternion), np.reshape(translation, (3, 1))], axis=1)
        views[name] = ColmapView(pose, _intrinsics(model, parameters, f"camera {number} of {files[0]}"), height, width)
    return views


def _parsed(path: pathlib.Path, parse) -> list[tuple]:
    try:
        return list(parse(path.read_bytes()))
    except (ValueError, IndexError, struct.error) as error:
        raise ValueError(f"{path} cannot be read as part of a COLMAP model; it may be cut off or damaged ({error})") from error


def _text_cameras(content: bytes) -> Iterator[tuple]:
    for line in content.decode().splitlines():
        if line.strip() and not line.startswith("#"):
            number, model, width, height, *parameters = line.split()
            yield int(number), model, int(width), int(height), [float(value) for value in parameters]


def _text_images(content: bytes) -> Iterator[tuple]:
    lines = iter([line for line in content.decode().splitlines() if not line.startswith("#")])
    for line in lines:
        if line.strip():
            _, *numbers, camera, name = line.strip().split(maxsplit=9)
            values = [float(value) for value in numbers]
            yield values[:4], values[4:7], int(camera), name
            next(lines, None)  # the image's points, an empty line where it has none


def _binary_cameras(content: bytes) -> Iterator[tuple]:
    (count,) = struct.unpack_from("<Q", content)
    at, names = 8, list(_MODELS)
    for _ in range(count):
        number, model, width, height = struct.unpack_from("<IiQQ", content, at)
        if not 0 <= model < len(names):
            raise ValueError(f"there is no camera model {model}")
        parameters = struct.unpack_from(f"<{_MODELS[names[model]]}d", content, at + 24)
        at += 24 + 8 * len(parameters)
        yield number, names[model], width, height, parameters


def _binary_images(content: bytes) -> Iterator[tuple]:
    (count,) = struct.unpack_from("<Q", content)
    at = 8
    for _ in range(count):
        _, *values, camera = struct.unpack_from("<I7dI", content, at)
        end = content.index(b"\0", at + 64)
        (points,) = struct.unpack_from("<Q", content, end + 1)
        yield values[:4], values[4:], camera, content[at + 64 : end].decode()
        at = end + 9 + _POINT * points


def _rotation(quaternion: list[float]) -> np.ndarray:
    """(3, 3) of wxyz. NumPy, not `da3jax.geometry`: float64, and readers in worker processes keep off the accelerator."""
    w, x, y, z = np.asarray(quaternion) / np.linalg.norm(quaternion)
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + 2 * w * cross + 2 * cross @ cross


def _intrinsics(model: str, parameters: list[float], where: str) -> np.ndarray:
    one_of(f"the model of {where}", model, _MODELS)
    if len(parameters) != _MODELS[model]:
        raise ValueError(f"{where} is {model} with {len(parameters)} parameters; it has {_MODELS[model]}")
    pinhole = 3 if model in _ONE_FOCAL else 4
    if model not in _ONE_FOCAL + _TWO_FOCALS or any(parameters[pinhole:]):
        raise ValueError(
            f"{where} is {model}, a lens with distortion; cameras should be pinholes, which colmap image_undistorter makes of them"
        )
    fx, fy, cx, cy = (parameters[0], *parameters[:3]) if pinhole == 3 else parameters[:4]
    return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float64)
