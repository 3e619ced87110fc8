"""What the camera wrote into a photograph about its focal length -> intrinsics."""

from __future__ import annotations

import contextlib
import math
from typing import Any

import numpy as np
from PIL import ExifTags, Image

from da3jax.inputs.image_file import opened, quiet
from da3jax.inputs.images import SIDEWAYS, ImageLike
from da3jax.types import LazyImage

_FILM_DIAGONAL = math.hypot(36, 24)
_MILLIMETRES = {2: 25.4, 3: 10.0, 4: 1.0, 5: 1e-3}  # by FocalPlaneResolutionUnit; 1 is no unit
_SHORTEST, _LONGEST = 0.05, 100.0  # image diagonals: what is outside is a mistake, not a lens


def intrinsics_from_exif(image: ImageLike) -> np.ndarray | None:
    """Pinhole intrinsics by the EXIF tags of a file or PIL image; its header is read, its pixels are not.

    The focal length is FocalLengthIn35mmFilm, which compares diagonals (CIPA DCG-001): focal in pixels = tag · diagonal in pixels /
    43.27 mm. Without it, FocalLength times FocalPlaneXResolution, brought from the size the tags were written for to the image's. A
    value of 0, NaN, less than 0.05 or more than 100 image diagonals counts as not there. Tags know nothing of a later crop.

    Args:
        image: as `read_image`.

    Returns:
        (3, 3) float64 in pixels of the upright image at its own size, fx = fy, the principal point at the centre. None where there is no
        focal length: no EXIF or broken EXIF, an array, a `LazyImage`, or a file that cannot be opened (`read_image` says why).
    """
    if isinstance(image, np.ndarray | LazyImage):
        return None
    try:
        with quiet(), contextlib.nullcontext(image) if isinstance(image, Image.Image) else opened(image, str(image)) as file:
            if file.format == "PNG" and "exif" not in file.info:
                return None  # getexif would decode the pixels to look for it after them
            width, height = file.size
            exif = file.getexif()
            tags = exif.get_ifd(ExifTags.IFD.Exif)
            sideways = exif.get(ExifTags.Base.Orientation) in SIDEWAYS and file.format != "TIFF"  # whose size Pillow has turned already
    except Exception:  # broken EXIF makes Pillow raise almost anything
        return None
    diagonal = math.hypot(width, height)
    for focal in (
        _number(tags, ExifTags.Base.FocalLengthIn35mmFilm) * diagonal / _FILM_DIAGONAL,
        _number(tags, ExifTags.Base.FocalLength) * _pixels_per_millimetre(tags, max(width, height)),
    ):
        if _SHORTEST * diagonal <= focal <= _LONGEST * diagonal:
            if sideways:
                width, height = height, width
            return np.array([[focal, 0, width / 2], [0, focal, height / 2], [0, 0, 1]])
    return None


def _pixels_per_millimetre(tags: dict[int, Any], long_side: int) -> float:
    """Of the image on the sensor; 0 if not known."""
    unit = _MILLIMETRES.get(tags.get(ExifTags.Base.FocalPlaneResolutionUnit, 2))  # inches by default
    if unit is None:
        return 0.0
    # The long side, as programs that turn the pixels may leave the tags as they were.
    written = max(_number(tags, ExifTags.Base.ExifImageWidth), _number(tags, ExifTags.Base.ExifImageHeight)) or long_side
    return _number(tags, ExifTags.Base.FocalPlaneXResolution) / unit * long_side / written


def _number(tags: dict[int, Any], tag: int) -> float:
    """A tag's value, 0 if it is not there or no positive finite number."""
    try:
        value = float(tags[tag])
    except (KeyError, TypeError, ValueError, ArithmeticError):
        return 0.0
    return value if 0 < value < math.inf else 0.0
