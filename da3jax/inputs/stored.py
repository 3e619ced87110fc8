"""Pictures as their files store them, not turned by EXIF: what COLMAP and nerfstudio calibrate."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np

from da3jax.inputs.image_file import opened
from da3jax.inputs.images import SIDEWAYS, UPRIGHT, decoded, orientation

_BACK = UPRIGHT | {6: UPRIGHT[8], 8: UPRIGHT[6]}
"""What turns an upright picture into the one that a file of that EXIF orientation stores: a quarter turn the other way, else the same."""


@dataclasses.dataclass(frozen=True)
class StoredPicture:
    """A file's header."""

    path: pathlib.Path
    height: int
    """Pixels, as stored."""
    width: int


def stored_picture(path: pathlib.Path) -> StoredPicture:
    """The size of a picture by its file's header; its pixels are not read.

    Raises:
        OSError, ModuleNotFoundError: as `read_image`, for a file that is no picture.
    """
    with opened(path, str(path)) as image:
        width, height = image.size
        if image.format == "TIFF" and orientation(image) in SIDEWAYS:  # the one format that Pillow turns by itself
            width, height = height, width
    return StoredPicture(path, height, width)


def stored_pixels(path: pathlib.Path, name: str) -> np.ndarray:
    """The pixels of a file, (H, W, 3) uint8 RGB, not turned.

    Raises:
        OSError, ValueError, ModuleNotFoundError: as `read_image`.
    """
    with opened(path, name) as image:
        turned = orientation(image) if image.format == "TIFF" else 1
        pixels, _ = decoded(image, name)
    return np.ascontiguousarray(_BACK.get(turned, np.asarray)(pixels))


def read_as_stored(picture: StoredPicture, name: str) -> np.ndarray:
    """The same of a picture whose header was read before.

    Raises:
        OSError: its file is not what it was then; and as `read_image`.
        ValueError: as `read_image`.
    """
    pixels = stored_pixels(picture.path, name)
    if pixels.shape[:2] != (picture.height, picture.width):
        raise OSError(
            f"{name} is {pixels.shape[1]} × {pixels.shape[0]} pixels (W × H) now and was {picture.width} × {picture.height} when its "
            f"camera was read; files should not change in between"
        )
    return pixels
