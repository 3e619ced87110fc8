"""Whatever holds a picture -> upright 8-bit RGB; and the pictures of a folder."""

from __future__ import annotations

import contextlib
import pathlib
import re
import struct
import threading
from collections.abc import Iterable, Sequence
from functools import partial

import numpy as np
from PIL import ExifTags, Image

from da3jax.types import LazyImage

ImageLike = str | pathlib.Path | Image.Image | np.ndarray | LazyImage

_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What turns a picture of that EXIF orientation upright."""

_SEQUENCES = ("GIF", "WEBP", "PNG", "AVIF", "TIFF")
"""Formats whose further frames are pictures of their own; elsewhere (a phone's MPO, a PSD) they are previews or layers."""

_DECODER_ERRORS = (OSError, SyntaxError, ValueError, EOFError, IndexError, TypeError, struct.error)
"""What Pillow raises on broken files, depending on the format."""

_CALLERS_IMAGES = threading.Lock()  # Pillow loads lazily, and one Image object may stand in a list twice


def read_image(source: ImageLike, name: str | None = None) -> np.ndarray:
    """The picture as the official package sees it (alpha is dropped, the first three channels kept), but turned upright.

    Args:
        source: a file; a PIL image; an array (H, W), (H, W, 1), (H, W, 3) or (H, W, 4), uint8, or uint16 over its whole range; or a
            `LazyImage`. Files and PIL images are turned by their EXIF orientation, 16-bit grey is scaled to 8 bit, rounding.
        name: of the picture in messages; the file's if None.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        FileNotFoundError: the file is not there.
        OSError: it is a folder, no image, broken, too large for `PIL.Image.MAX_IMAGE_PIXELS`, or cannot be read.
        ValueError: an array of another shape or type; an animation; pixels whose range is unknown (32-bit) or that have no way to RGB.
    """
    name = name or describe(source)
    if isinstance(source, LazyImage):
        return _from_array(source.read(), name)
    if isinstance(source, np.ndarray):
        return _from_array(source, name)
    if isinstance(source, Image.Image):
        with _CALLERS_IMAGES:
            return _from_pil(source, name)
    if not isinstance(source, str | pathlib.Path):
        raise ValueError(f"{name} is of type {type(source).__name__}; an image is a path, a PIL image or a numpy array")
    path = pathlib.Path(source)
    if path.is_dir():
        raise IsADirectoryError(f"{name} is a folder, not an image; da3jax.inputs.list_images gives the images in a folder")
    if not path.exists():
        raise FileNotFoundError(f"{name} does not exist")
    with contextlib.ExitStack() as stack:
        try:
            image = Image.open(stack.enter_context(path.open("rb")))
        except Image.UnidentifiedImageError as error:
            raise OSError(f"{name} is not an image that Pillow can read") from error
        except (Image.DecompressionBombError, Image.DecompressionBombWarning) as error:  # the warning where warnings are errors
            raise OSError(f"{name} is larger than Pillow trusts: {error}; raise PIL.Image.MAX_IMAGE_PIXELS if you do") from error
        except _DECODER_ERRORS as error:
            raise _unreadable(name, error) from error
        return _from_pil(image, name)


def lazy_images(images: Iterable[ImageLike] | ImageLike) -> list[LazyImage]:
    """The same pictures, to be read when their turn comes; those that have no name are called `image_0000.png` and so on."""
    return [
        image
        if isinstance(image, LazyImage)
        else LazyImage(
            str(image) if isinstance(image, str | pathlib.Path) else f"image_{index:04d}.png",
            partial(read_image, image, describe(image, index)),
        )
        for index, image in enumerate(several(images))
    ]


def several(images: Iterable[ImageLike] | ImageLike) -> list[ImageLike]:
    """A list of pictures; a single one is a list of one."""
    one = not isinstance(images, Iterable) or isinstance(images, str) or (isinstance(images, np.ndarray) and images.ndim < 4)
    return [images] if one else list(images)


def describe(source: object, index: int | None = None) -> str:
    """How messages call a picture: its file, else `image INDEX`."""
    if isinstance(source, str | pathlib.Path):
        return str(source)
    if isinstance(source, LazyImage):
        return source.name
    name = "the image" if index is None else f"image {index}"
    return f"{name} ({source.filename})" if getattr(source, "filename", "") else name


def list_images(
    folder: str | pathlib.Path, extensions: Sequence[str] = ("png", "jpg", "jpeg", "webp", "bmp", "tif", "tiff")
) -> list[pathlib.Path]:
    """The images directly in a folder, in natural order (`2.png` before `10.png`); hidden files are skipped.

    Args:
        folder: where to look; not in its subfolders.
        extensions: endings of names that count, in upper or lower case.

    Raises:
        FileNotFoundError: the folder is not there, or has no such file.
        NotADirectoryError: it is a file.
    """
    folder = pathlib.Path(folder)
    if not folder.exists():
        raise FileNotFoundError(f"{folder} does not exist; it should be a folder of images")
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file, not a folder of images")
    wanted = {"." + extension.lower().lstrip(".") for extension in extensions}
    found = [path for path in folder.iterdir() if path.suffix.lower() in wanted and not path.name.startswith(".") and path.is_file()]
    if not found:
        raise FileNotFoundError(f"{folder} has no images: no file in it ends in {', '.join(sorted(wanted))}")
    return sorted(found, key=lambda path: ([int(part) if part.isdigit() else part for part in _digits(path.name.lower())], path.name))


def _digits(name: str) -> list[str]:
    """`name` cut into text and runs of digits, in turn."""
    return re.split(r"([0-9]+)", name)


def _from_array(array: np.ndarray, name: str) -> np.ndarray:
    if array.dtype.name not in ("uint8", "uint16"):
        raise ValueError(
            f"{name} is an array of {array.dtype}; an image is uint8 in 0..255 or uint16 in 0..65535 "
            f"(floats in 0..1 become that by np.rint(255 * image).astype(np.uint8))"
        )
    if array.ndim not in (2, 3) or (array.ndim == 3 and array.shape[2] not in (1, 3, 4)) or 0 in array.shape:
        raise ValueError(f"{name} is an array of shape {array.shape}; an image is (H, W), (H, W, 1), (H, W, 3) or (H, W, 4)")
    if array.dtype.name == "uint16":
        array = _to_8_bit(array)
    array = array.reshape(*array.shape[:2], -1)[..., :3]
    return np.ascontiguousarray(np.broadcast_to(array, (*array.shape[:2], 3)))


def _from_pil(image: Image.Image, name: str) -> np.ndarray:
    try:
        frames = getattr(image, "n_frames", 1) if image.format in _SEQUENCES else 1
        if frames == 1:
            image.load()
    except _DECODER_ERRORS as error:
        raise _unreadable(name, error) from error
    if frames > 1:
        raise ValueError(f"{name} holds {frames} frames; pass one of them, as a file of its own, or by image.seek(i) and image.copy()")
    turn = _UPRIGHT.get(_orientation(image))
    if image.mode.startswith("I;16"):
        return _from_array(np.asarray(image if turn is None else image.transpose(turn)), name)
    if image.mode in ("I", "F"):
        raise ValueError(f"{name} has 32-bit pixels (mode {image.mode}), whose range is unknown; convert it to 8 or 16 bit")
    if image.mode in ("P", "PA"):
        image = image.convert("RGBA")  # the way of a palette with transparency that Pillow does not warn about
    try:
        image = image.convert("RGB")
    except ValueError as error:
        raise ValueError(f"{name} has pixels of mode {image.mode}, which Pillow cannot convert to RGB; convert it first") from error
    return np.array(image if turn is None else image.transpose(turn))


def _orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) where there is none or it cannot be read."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except _DECODER_ERRORS:
        return 1


def _to_8_bit(array: np.ndarray) -> np.ndarray:
    """65535 -> 255, rounding to the nearest."""
    return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)


def _unreadable(name: str, error: Exception) -> OSError:
    reason = getattr(error, "strerror", None) or f"it may be cut off or damaged ({error})"
    return OSError(f"{name} cannot be read as an image: {reason}")
