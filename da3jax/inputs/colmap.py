"""Cameras and poses of a COLMAP model, text or binary; its points are not read.

Formats: COLMAP's documentation, "Output Format". Newer versions put `rigs` and `frames` beside `cameras` and `images`; the poses in
`images` are those of the cameras all the same.
"""

from __future__ import annotations

import dataclasses
import logging
import math
import os
import pathlib
import struct
from collections.abc import Callable, Iterator
from typing import BinaryIO

import numpy as np

from da3jax.inputs.known_views import KnownViews, PosedFile, inside, known_views
from da3jax.inputs.lenses import MODELS, Lens, lens, parameter_count

logger = logging.getLogger(__name__)

_BY_NUMBER = {model.number: (name, parameter_count(name)) for name, model in MODELS.items()} | {17: ("EQUIRECTANGULAR", 2)}
_POINT = 24  # bytes of a 2D point: x, y, id
_LONGEST_NAME = 4096  # bytes; what is longer is no path
_PICTURES = (".png", ".jpg", ".jpeg", ".webp", ".bmp", ".tif", ".tiff")


@dataclasses.dataclass(frozen=True)
class ColmapView:
    """One registered image."""

    extrinsics: np.ndarray
    """(3, 4) float64 world-to-camera."""
    lens: Lens
    """For the image at the size that the model was made from."""
    camera: str
    """What messages call its camera."""

    def pinhole_intrinsics(self) -> np.ndarray:
        """(3, 3) float64 pixels.

        Raises:
            ValueError: it is no pinhole.
        """
        if not self.lens.is_pinhole:
            raise ValueError(
                f"{self.camera} is {self.lens.model}, a lens with distortion; cameras should be pinholes, "
                f"which colmap image_undistorter makes of them"
            )
        return self.lens.intrinsics


def read_scene_colmap(folder: str | pathlib.Path, sparse_subdir: str = "") -> KnownViews:
    """The registered images of a COLMAP folder and their cameras, as pinhole cameras see them.

    Args:
        folder: holds `images/` and `sparse/`, the latter with `cameras` and `images` as `.bin` or `.txt`.
        sparse_subdir: which model: `0` or `sparse/0`. By default that in `sparse/` itself, else `sparse/0`.

    Returns:
        The images that are in both the model and the folder, named as in the model, in natural order. Pictures of a lens with distortion
        are undistorted when they are read (`da3jax.inputs.undistort` says how), and the intrinsics are those of the undistorted ones.
        EXIF does not turn pictures here, as it does not in COLMAP. The others are left out and logged.

    Raises:
        OSError: a folder or file is missing or cannot be read; none of the model's images is in the folder.
        ValueError: a file is damaged; a name leads out of `images/`; a camera cannot be used, or is not for its image.
    """
    folder = pathlib.Path(folder)
    if not folder.is_dir():
        raise FileNotFoundError(f"{folder} is not a folder; a COLMAP folder has images and sparse in it")
    if not (folder / "images").is_dir():
        raise FileNotFoundError(f"{folder} has no folder images; a COLMAP folder has images and sparse in it")
    model = _model_folder(folder, sparse_subdir)
    views = read_colmap(model)
    if not views:
        raise ValueError(f"the COLMAP model in {model} has no images; it should have registered some")
    files = [
        PosedFile(name, inside(folder / "images", name, str(model)), view.extrinsics, lambda _, view=view: view.lens, view.camera)
        for name, view in views.items()
    ]
    found = known_views(files, model)
    known = {file.path for file in files}
    if others := sum(path not in known for path in _pictures(folder / "images")):
        logger.warning("%d images in %s are not in the COLMAP model and left out", others, folder / "images")
    return found


def read_colmap(folder: pathlib.Path) -> dict[str, ColmapView]:
    """The registered images of a model by name, which is the file's path inside the folder of images.

    Args:
        folder: holds `cameras` and `images`, both `.bin` or both `.txt`; binary is preferred.

    Raises:
        FileNotFoundError: there is neither pair of files.
        ValueError: a file is cut short or damaged; an image's camera is not in the model, or cannot be one.
    """
    files = _model_files(folder)
    if files is None:
        raise FileNotFoundError(f"{folder} has no COLMAP model: neither cameras.bin and images.bin nor cameras.txt and images.txt")
    cameras, images = (_binary_cameras, _binary_images) if files[0].suffix == ".bin" else (_text_cameras, _text_images)
    stored = {}
    for number, *camera in _parsed(files[0], cameras):
        if number in stored:
            raise ValueError(f"{files[0]} has the camera {number} twice; it may be damaged")
        stored[number] = camera
    lenses, views = {}, {}
    for quaternion, translation, number, name in _parsed(files[1], images):
        if number not in stored:
            raise ValueError(f"{files[1]} gives {name} the camera {number}, which {files[0].name} does not have")
        if name in views:
            raise ValueError(f"{files[1]} has the image {name} twice; it may be damaged")
        camera = f"camera {number} of {files[0]}"
        if number not in lenses:
            lenses[number] = lens(*stored[number], camera)
        pose = _pose(quaternion, translation, f"{name} in {files[1]}")
        views[name] = ColmapView(pose, lenses[number], camera)
    return views


def _model_folder(folder: pathlib.Path, sparse_subdir: str) -> pathlib.Path:
    sparse = folder / "sparse"
    if sparse_subdir:
        if pathlib.Path(sparse_subdir).is_absolute() or ".." in pathlib.Path(sparse_subdir).parts:
            raise ValueError(f"sparse_subdir is {sparse_subdir}; it is a folder inside {sparse}, like 0")
        return next((place for place in (sparse / sparse_subdir, folder / sparse_subdir) if place.is_dir()), sparse / sparse_subdir)
    if _model_files(sparse) is None and (sparse / "0").is_dir():
        if (sparse / "1").is_dir():
            logger.warning("%s has several models; 0 is taken, and sparse_subdir chooses another", sparse)
        return sparse / "0"
    return sparse


def _model_files(folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path] | None:
    both = [(folder / f"cameras{ending}", folder / f"images{ending}") for ending in (".bin", ".txt")]
    return next((files for files in both if all(file.is_file() for file in files)), None)


def _pictures(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    for place, _, names in os.walk(folder):  # does not follow links
        yield from (pathlib.Path(place, name) for name in names if name.lower().endswith(_PICTURES) and not name.startswith("."))


def _parsed(path: pathlib.Path, parse: Callable[[BinaryIO], Iterator[tuple]]) -> list[tuple]:
    try:
        with path.open("rb") as file:
            return list(parse(file))
    except (ValueError, IndexError, struct.error) as error:
        raise ValueError(f"{path} cannot be read as part of a COLMAP model; it may be cut off or damaged ({error})") from error


def _lines(file: BinaryIO) -> Iterator[str]:
    for index, line in enumerate(file):
        yield line.decode("utf-8-sig" if index == 0 else "utf-8", "surrogateescape").strip()  # names are as the file system has them


def _text_cameras(file: BinaryIO) -> Iterator[tuple]:
    for line in _lines(file):
        if line and not line.startswith("#"):
            number, model, width, height, *parameters = line.split()
            yield int(number), model, int(width), int(height), [float(value) for value in parameters]


def _text_images(file: BinaryIO) -> Iterator[tuple]:
    lines = _lines(file)
    for line in lines:
        if line and not line.startswith("#"):
            if len(words := line.split(maxsplit=9)) < 10:
                raise ValueError(f"the line of an image, {line[:80]!r}, has {len(words)} words and should have 10")
            _, *numbers, camera, name = words
            values = [float(value) for value in numbers]
            _check_points(next(lines, ""), name)
            yield values[:4], values[4:7], int(camera), name


def _check_points(line: str, name: str) -> None:
    """Raises a ValueError unless the line after an image's holds points, or nothing: without it, every other image would be lost."""
    words = line.split(maxsplit=12)  # lines of points can be long; a name in their place is the tenth word
    try:
        numbers = [float(word) for word in words[:12]]
    except ValueError:
        numbers = []
    if words and (not numbers or (len(words) <= 12 and len(words) % 3)):
        raise ValueError(f"the line after that of {name} is not its points, three numbers each, and should be empty if there are none")


def _binary_cameras(file: BinaryIO) -> Iterator[tuple]:
    (count,) = _unpacked(file, "<Q")
    for _ in range(count):
        number, model, width, height = _unpacked(file, "<IiQQ")
        if model not in _BY_NUMBER:
            raise ValueError(f"there is no camera model {model}")
        name, parameters = _BY_NUMBER[model]
        yield number, name, width, height, _unpacked(file, f"<{parameters}d")
    _check_end(file)


def _binary_images(file: BinaryIO) -> Iterator[tuple]:
    size = file.seek(0, os.SEEK_END)
    file.seek(0)
    (count,) = _unpacked(file, "<Q")
    for _ in range(count):
        _, *values, camera = _unpacked(file, "<I7dI")
        name = bytearray()
        while (byte := file.read(1)) != b"\0":
            name += byte
            if not byte or len(name) > _LONGEST_NAME:
                raise ValueError("the name of an image does not end")
        (points,) = _unpacked(file, "<Q")
        if file.tell() + _POINT * points > size:
            raise ValueError(f"it ends before the {points} points of an image")
        file.seek(_POINT * points, os.SEEK_CUR)
        yield values[:4], values[4:], camera, name.decode("utf-8", "surrogateescape")
    _check_end(file)


def _unpacked(file: BinaryIO, form: str) -> tuple:
    return struct.unpack(form, file.read(struct.calcsize(form)))


def _check_end(file: BinaryIO) -> None:
    if file.read(1):
        raise ValueError("it goes on after what it says it has")


def _pose(quaternion: list[float], translation: list[float], where: str) -> np.ndarray:
    """(3, 4) of a quaternion wxyz. NumPy, not `da3jax.geometry`: float64, and readers in worker processes keep off the accelerator."""
    length = math.hypot(*quaternion)
    if not 0 < length < math.inf or not np.isfinite(translation).all():
        raise ValueError(
            f"{where} has the quaternion {' '.join(f'{value:g}' for value in quaternion)} and the translation "
            f"{' '.join(f'{value:g}' for value in translation)}; they should be finite, and the quaternion not zero"
        )
    w, x, y, z = np.asarray(quaternion) / length
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.concatenate([np.eye(3) + 2 * w * cross + 2 * cross @ cross, np.reshape(translation, (3, 1))], axis=1)
