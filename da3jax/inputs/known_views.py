"""Files whose cameras are known -> pictures as pinhole cameras see them, and those cameras."""

from __future__ import annotations

import dataclasses
import logging
import os
import pathlib
import re
import threading
from collections.abc import Callable, Sequence
from functools import partial

import numpy as np

from da3jax.inputs.cameras import check_extrinsics, check_intrinsics
from da3jax.inputs.images import natural
from da3jax.inputs.lenses import Lens
from da3jax.inputs.stored import StoredPicture, read_as_stored, stored_picture
from da3jax.inputs.undistort import pinhole_of, resample, undistortion_map
from da3jax.types import LazyImage

logger = logging.getLogger(__name__)

_KEPT = 256 * 2**20  # bytes of undistortion maps; the one in use is kept in any case


@dataclasses.dataclass(frozen=True)
class KnownViews:
    """Pictures with their cameras: what `inference` takes as images, extrinsics and intrinsics."""

    images: list[LazyImage]
    """N pictures, each undistorted when its turn comes."""
    extrinsics: np.ndarray
    """(N, 3, 4) float64 world-to-camera, in the world of the file that they come from."""
    intrinsics: np.ndarray
    """(N, 3, 3) float64 pixels of the images as they are read."""


@dataclasses.dataclass(frozen=True)
class PosedFile:
    """A picture's file and camera."""

    name: str
    path: pathlib.Path
    extrinsics: np.ndarray
    """(3, 4) float64 world-to-camera."""
    lens: Callable[[StoredPicture], Lens]
    """The camera, for images of a size that the picture is brought to; it may depend on what the file's header says."""
    where: str
    """What messages call the camera."""


def inside(folder: pathlib.Path, name: str, where: str) -> pathlib.Path:
    """The path of a file in a folder by its name in a file that somebody else wrote.

    Args:
        folder: what must not be left.
        name: relative to it.
        where: the file that names it, for messages.

    Raises:
        ValueError: the name is empty or absolute, or leads out of the folder, be it by `..` or by a symbolic link.
    """
    absolute = pathlib.PurePosixPath(name).is_absolute() or pathlib.PureWindowsPath(name).drive or name.startswith("\\")
    if not name or "\0" in name or absolute or ".." in re.split(r"[/\\]", name):
        raise ValueError(f"{where} names the image {name!r}; names should be paths inside {folder}, without ..")
    path = folder / name
    try:
        leaves = not path.resolve().is_relative_to(folder.resolve())
    except (OSError, RuntimeError, UnicodeEncodeError) as error:  # a circle of links, a name that is too long or no text
        raise ValueError(f"{where} names the image {name!r}, which cannot be followed: {error}") from error
    if leaves:
        raise ValueError(f"{where} names the image {name!r}, a symbolic link that leads out of {folder}; it should be a file inside it")
    return path


def known_views(files: Sequence[PosedFile], source: pathlib.Path) -> KnownViews:
    """The pictures of files, undistorted where they need it, with their cameras; in natural order of their names.

    A picture of another size than its camera is for is that camera's made smaller or larger, if its width and height agree on that.
    Pictures are not turned by EXIF: their cameras are for the pixels as they are stored. Files that are not there are left out with a
    warning, as long as some are there.

    Args:
        files: at least one.
        source: the model that names them, for messages.

    Raises:
        FileNotFoundError: none of the files is there.
        OSError: one is no picture.
        ValueError: a picture's shape is not its camera's; a camera cannot be a pinhole's, or is none.
    """
    missing = [file.name for file in files if not os.path.isfile(file.path)]  # noqa: PTH113, names that are too long are missing, too
    if len(missing) == len(files):
        raise FileNotFoundError(f"none of the {len(files)} images that {source} names is there: {_some(missing)}")
    if missing:
        logger.warning("%d of the %d images that %s names are not there and left out: %s", len(missing), len(files), source, _some(missing))
    there = sorted((file for file in files if os.path.isfile(file.path)), key=lambda file: natural(file.name))  # noqa: PTH113
    pinholes: dict[Lens, Lens] = {}
    maps = _Maps()
    images, intrinsics = [], []
    for file in there:
        picture = stored_picture(file.path)
        lens = _fitted(file, picture)
        if lens not in pinholes:
            pinholes[lens] = pinhole_of(lens, file.where)
        images.append(LazyImage(file.name, partial(_read, picture, file.name, lens, pinholes[lens], maps), file.path))
        intrinsics.append(pinholes[lens].intrinsics)
    names = [file.name for file in there]
    extrinsics = check_extrinsics([file.extrinsics for file in there], names)
    return KnownViews(images, extrinsics, check_intrinsics(intrinsics, names))


def _fitted(file: PosedFile, picture: StoredPicture) -> Lens:
    """The file's lens for pictures of the size that it has."""
    lens = file.lens(picture)
    if (lens.width, lens.height) == (picture.width, picture.height):
        return lens
    # Sides that were scaled together and cut to whole pixels are off by less than a pixel each.
    if abs(picture.width * lens.height - picture.height * lens.width) > lens.width + lens.height:
        raise ValueError(
            f"{file.name} is {picture.width} × {picture.height} pixels (W × H), not turned by EXIF; {file.where} is for images of "
            f"{lens.width} × {lens.height}, and it should be that or resized as a whole"
        )
    return lens.scaled(picture.width, picture.height)


def _read(picture: StoredPicture, name: str, lens: Lens, pinhole: Lens, maps: _Maps) -> np.ndarray:
    image = read_as_stored(picture, name)
    return image if lens.is_pinhole else resample(image, maps(lens, pinhole))


class _Maps:
    """Undistortion maps of the lenses that were used last: one a lens, whichever thread asks."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._kept: dict[Lens, np.ndarray] = {}

    def __call__(self, lens: Lens, pinhole: Lens) -> np.ndarray:
        with self._lock:
            found = self._kept.pop(lens, None)
            room = _KEPT - 8 * pinhole.width * pinhole.height
            while self._kept and sum(kept.nbytes for kept in self._kept.values()) > room:
                del self._kept[next(iter(self._kept))]
            self._kept[lens] = undistortion_map(lens, pinhole) if found is None else found  # the last used is the last
            return self._kept[lens]


def _some(names: Sequence[str]) -> str:
    """The first of them, as Python escapes bytes that are no UTF-8."""
    shown = (name.encode(errors="backslashreplace").decode() for name in names[:5])
    return ", ".join(shown) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
