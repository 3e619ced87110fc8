"""Cameras and poses of Nerfstudio's `transforms.json`, which instant-ngp and the NeRF paper's synthetic scenes have, too.

Poses are camera-to-world with OpenGL's camera axes: x right, y up, looking along −z. The world is the file's: what an `applied_transform`
has done to it is left as it is. Pixels and intrinsics are as ours.

Format: Nerfstudio's documentation, "Data conventions".
"""

from __future__ import annotations

import json
import math
import os
import pathlib
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np

from da3jax.inputs.known_views import KnownViews, PosedFile, inside, known_views
from da3jax.inputs.lenses import Lens, lens
from da3jax.inputs.stored import StoredPicture
from da3jax.schema import one_of

_BENT = ("k1", "k2", "p1", "p2", "k3")  # of a lens with perspective
_FISHEYE = ("k1", "k2", "k3", "k4")
_PERSPECTIVES = ("SIMPLE_PINHOLE", "PINHOLE", "SIMPLE_RADIAL", "RADIAL", "OPENCV")
_LENGTHS = ("w", "h", "fl_x", "fl_y", "cx", "cy", "camera_angle_x", "camera_angle_y", "k1", "k2", "k3", "k4", "p1", "p2")
_ENDINGS = ("", ".png", ".jpg", ".jpeg", ".JPG", ".PNG")  # of the images that are named without
_LARGEST = float(np.finfo(np.float32).max)
_FLIP = np.array([1, -1, -1, 1])  # from OpenCV's camera to OpenGL's


def read_nerfstudio(path: str | pathlib.Path) -> KnownViews:
    """The images of a `transforms.json` and their cameras, as pinhole cameras see them.

    What is said of cameras (`fl_x`, `fl_y`, `cx`, `cy`, `w`, `h`, `k1` to `k4`, `p1`, `p2`, `camera_model`, `camera_angle_x`) is read from
    the frame, else from the file. Without `fl_x` the focal length is that of `camera_angle_x`, without `w` and `h` the camera is for the
    image at its own size, and without `cx` and `cy` the principal point is at its centre. All models with perspective may have all of
    `k1`, `k2`, `p1`, `p2` and `k3`, as in Nerfstudio.

    Args:
        path: the file, or the folder that has it as `transforms.json`.

    Returns:
        The images that are there, by their paths relative to the file, in natural order. Pictures of a lens with distortion are undistorted
        when they are read (`da3jax.inputs.undistort` says how), and the intrinsics are those of the undistorted ones. EXIF does not turn
        pictures here, as it does not in Nerfstudio. Images that are not there are left out and logged.

    Raises:
        OSError: the file is missing or cannot be read; none of its images is there.
        ValueError: it is not JSON, or not of this form; a path leads out of its folder; a camera cannot be used, or is not for its image.
    """
    path = pathlib.Path(path)
    if path.is_dir():
        path = path / "transforms.json"
    if not path.is_file():
        near = ", ".join(sorted(other.name for other in path.parent.glob("*.json"))[:5])
        raise FileNotFoundError(f"{path} does not exist" + f"; {near} is there and can be named instead" * bool(near))
    content = _parsed(path)
    frames = content.get("frames")
    if not isinstance(frames, list) or not frames:
        raise ValueError(f"{path} has no frames; it should have a list of them, each with file_path and transform_matrix")
    files, seen = [], set()
    for index, frame in enumerate(frames):
        file = _posed_file(path, content, frame, f"frame {index} of {path}")
        if file.name in seen:
            raise ValueError(f"{path} has the image {file.name} twice; each should have one camera")
        seen.add(file.name)
        files.append(file)
    return known_views(files, path)


def _parsed(path: pathlib.Path) -> Mapping[str, Any]:
    try:
        content = json.loads(path.read_bytes(), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is not JSON; it may be cut off or damaged ({error})") from error
    if not isinstance(content, Mapping):
        raise ValueError(f"{path} holds no JSON object; it should have frames and what is said of cameras")
    return content


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def _posed_file(path: pathlib.Path, content: Mapping[str, Any], frame: Any, where: str) -> PosedFile:
    if not isinstance(frame, Mapping) or not isinstance(frame.get("file_path"), str):
        raise ValueError(f"{where} has no file_path; it should be the image's path, as text")
    name = frame["file_path"].replace("\\", "/")
    image = inside(path.parent, name, where)
    longer = (inside(path.parent, name + ending, where) for ending in _ENDINGS)
    image = next((place for place in longer if os.path.isfile(place)), image)  # noqa: PTH113, a name that is too long is missing
    said = {**content, **frame}
    if said.get("is_fisheye") is True:  # instant-ngp
        said["camera_model"] = "OPENCV_FISHEYE"
    model = said.get("camera_model", "OPENCV")
    one_of(f"the camera_model of {where}", model if isinstance(model, str) else type(model).__name__, (*_PERSPECTIVES, "OPENCV_FISHEYE"))
    numbers = {key: _number(said[key], f"{key} of {where}") for key in _LENGTHS if said.get(key) is not None}
    if "fl_x" not in numbers and "camera_angle_x" not in numbers:
        raise ValueError(f"{where} has neither fl_x nor camera_angle_x; it should have a focal length, by itself or in the file")
    if ("w" in numbers) != ("h" in numbers):
        raise ValueError(f"{where} has only one of w and h; it should have both or none")
    for key in ("camera_angle_x", "camera_angle_y"):
        if not 0 < numbers.get(key, 1) < math.pi:
            raise ValueError(f"{key} of {where} is {numbers[key]:g}; it should be an angle of view in radians, between 0 and π")
    fisheye = model == "OPENCV_FISHEYE"
    if not fisheye and numbers.get("k4", 0):
        raise ValueError(f"k4 of {where} is {numbers['k4']:g}; a lens of model {model} should have k1 to k3, p1 and p2 only")
    extrinsics = _extrinsics(frame.get("transform_matrix"), where)
    return PosedFile(image.relative_to(path.parent).as_posix(), image, extrinsics, partial(_lens, numbers, fisheye, where), where)


def _lens(numbers: Mapping[str, float], fisheye: bool, where: str, picture: StoredPicture) -> Lens:
    width, height = numbers.get("w", picture.width), numbers.get("h", picture.height)
    if width != int(width) or height != int(height):
        raise ValueError(f"{where} is for images of {width:g} × {height:g} pixels (w × h), which should be whole numbers")
    if "fl_x" in numbers:
        fx = numbers["fl_x"]
        fy = numbers.get("fl_y", fx)
    else:
        fx = width / 2 / math.tan(numbers["camera_angle_x"] / 2)
        fy = height / 2 / math.tan(numbers["camera_angle_y"] / 2) if "camera_angle_y" in numbers else fx
        fy = numbers.get("fl_y", fy)
    pinhole = [fx, fy, numbers.get("cx", width / 2), numbers.get("cy", height / 2)]
    further = [numbers.get(key, 0.0) for key in (_FISHEYE if fisheye else _BENT)]
    if not fisheye:
        further += [0.0] * 3  # k4 to k6 of FULL_OPENCV, which divide
    return lens("OPENCV_FISHEYE" if fisheye else "FULL_OPENCV", int(width), int(height), pinhole + further, where)


def _number(value: Any, what: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"{what} is of type {type(value).__name__}; it should be a number")
    if abs(value) > _LARGEST:  # JSON has no NaN
        raise ValueError(f"{what} is too large; it should be a finite float32 number")
    return float(value)


def _extrinsics(pose: Any, where: str) -> np.ndarray:
    """(3, 4) float64 world-to-camera with OpenCV's axes."""
    rows = [list(row) if isinstance(row, list) else [] for row in pose] if isinstance(pose, list) else []
    if len(rows) not in (3, 4) or any(len(row) != 4 for row in rows):
        raise ValueError(f"{where} has no transform_matrix of 4 rows of 4 numbers; it should be the camera's pose in the world")
    matrix = np.array([[_number(value, f"transform_matrix of {where}") for value in row] for row in rows])
    if len(rows) == 4 and np.abs(matrix[3] - (0, 0, 0, 1)).max() > 1e-5:
        last = " ".join(f"{value:g}" for value in matrix[3])
        raise ValueError(f"transform_matrix of {where} ends in a row of {last}, which should be 0 0 0 1")
    rotation, centre = (matrix[:3] * _FLIP)[:, :3].T, matrix[:3, 3]
    return np.concatenate([rotation, -rotation @ centre[:, None]], axis=1)
