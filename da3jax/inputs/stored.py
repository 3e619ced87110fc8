"""Pictures as their files store them, not turned by EXIF: what COLMAP and nerfstudio calibrate."""

from __future__ import annotations

import dataclasses
import pathlib

import numpy as np
from PIL import ExifTags, Image

from da3jax.inputs.image_file import opened
from da3jax.inputs.images import SIDEWAYS, UPRIGHT, read_image

_BACK = UPRIGHT | {6: UPRIGHT[8], 8: UPRIGHT[6]}
"""What turns an upright picture into the one that a file of that EXIF orientation stores: a quarter turn the other way, else the same."""


@dataclasses.dataclass(frozen=True)
class StoredPicture:
    """A file's header."""

    path: pathlib.Path
    height: int
    """Pixels, as stored."""
    width: int
    orientation: int
    """By EXIF; 1 where there is none."""


def stored_picture(path: pathlib.Path) -> StoredPicture:
    """Size and orientation of a picture by its file's header; its pixels are not read.

    Raises:
        OSError, ModuleNotFoundError: as `read_image`, for a file that is no picture.
    """
    with opened(path, str(path)) as image:
        (width, height), orientation = image.size, _orientation(image)
        if image.format == "TIFF" and orientation in SIDEWAYS:  # the one format that Pillow turns by itself
            width, height = height, width
    return StoredPicture(path, height, width, orientation)


def read_as_stored(picture: StoredPicture, name: str) -> np.ndarray:
    """The picture (H, W, 3) uint8 RGB, not turned.

    Raises:
        OSError: its file is not what it was when its header was read; and as `read_image`.
        ValueError: as `read_image`.
    """
    upright = read_image(picture.path, name)
    image = np.ascontiguousarray(_BACK.get(picture.orientation, np.asarray)(upright))
    if image.shape[:2] != (picture.height, picture.width):
        raise OSError(
            f"{name} is {image.shape[1]} × {image.shape[0]} pixels (W × H) now and was {picture.width} × {picture.height} when its camera "
            f"was read; files should not change in between"
        )
    return image


def _orientation(image: Image.Image) -> int:
    try:
        # A PNG's own method would decode the pixels to look for EXIF after them.
        exif = Image.Image.getexif(image) if image.format == "PNG" else image.getexif()
        return exif.get(ExifTags.Base.Orientation, 1)
    except Exception:  # broken EXIF makes Pillow raise almost anything; then `read_image` does not turn it
        return 1
