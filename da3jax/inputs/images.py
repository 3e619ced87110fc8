"""Whatever holds a picture -> upright 8-bit RGB; and the pictures of a folder."""

from __future__ import annotations

import os
import pathlib
import re
import threading
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np
from PIL import ExifTags, Image

from da3jax.inputs.detect import IMAGE_EXTENSIONS, endings
from da3jax.inputs.image_file import opened, quiet, sentences
from da3jax.inputs.jpeg import decode_jpeg, is_jpeg
from da3jax.types import LazyImage

ImageLike = str | pathlib.Path | Image.Image | np.ndarray | LazyImage

UPRIGHT = {
    2: lambda stored: stored[:, ::-1],
    3: lambda stored: stored[::-1, ::-1],
    4: lambda stored: stored[::-1],
    5: lambda stored: stored.swapaxes(0, 1),
    6: lambda stored: stored[::-1].swapaxes(0, 1),
    7: lambda stored: stored[::-1, ::-1].swapaxes(0, 1),
    8: lambda stored: stored[:, ::-1].swapaxes(0, 1),
}
"""What turns a picture (H, W, …) of that EXIF orientation upright."""

SIDEWAYS = (5, 6, 7, 8)
"""EXIF orientations that swap width and height."""

_SEQUENCES = ("GIF", "WEBP", "PNG", "AVIF", "TIFF")
"""Formats whose further frames are pictures of their own; elsewhere (a phone's MPO or HEIC, a PSD) they are previews or layers."""

_STRIP, _TILE = 16, 256  # rows, and rows and columns, at a time: what is copied stays in the cache

_CALLERS_IMAGES = threading.Lock()  # Pillow loads lazily, and one Image object may stand in a list twice


def read_image(source: ImageLike, name: str | None = None, *, at_least: tuple[int, int] | None = None) -> np.ndarray:
    """The picture as the official package sees it (alpha is dropped, the first three channels kept), but turned upright.

    Args:
        source: a file (JPEG, PNG, WebP, BMP, TIFF and what else Pillow reads; HEIC with the extra `heic`); a PIL image; an array (H, W),
            (H, W, 1), (H, W, 3) or (H, W, 4), uint8, or uint16 over its whole range; or a `LazyImage`. Files and PIL images are turned by
            their EXIF orientation, 16-bit grey is scaled to 8 bit, rounding.
        name: of the picture in messages; the file's if None.
        at_least: the height and width of the upright picture that are enough. A JPEG file is then decoded at a half, a quarter or an
            eighth of each side, the smallest of them that is at least so large and whole, in a fraction of the time: a pixel is about the
            mean of those it stands for, as the frequencies above its own are left out. Everything else comes at its own size.

    Returns:
        (H, W, 3) uint8, RGB.

    Raises:
        FileNotFoundError: the file is not there.
        ModuleNotFoundError: it is HEIC, and pillow-heif is not installed.
        OSError: it is a folder, no image, broken, too large for `PIL.Image.MAX_IMAGE_PIXELS`, or cannot be read.
        ValueError: an array of another shape or type; an animation; pixels whose range is unknown (32-bit) or that have no way to RGB;
            `at_least` that is no size.
    """
    if at_least is not None and not (np.shape(at_least) == (2,) and min(at_least) >= 1):
        raise ValueError(f"at_least is {at_least}; it is a height and a width in pixels, at least 1")
    return read_with_size(source, name or describe(source), None if at_least is None else lambda height, width: at_least)[0]


def read_with_size(
    source: ImageLike, name: str, enough: Callable[[int, int], tuple[int, int]] | None = None
) -> tuple[np.ndarray, tuple[int, int]]:
    """As `read_image`, and the picture's own height and width; `enough(height, width)` says how large it has to be at least."""
    if isinstance(source, LazyImage):
        pixels = _from_array(source.read(), name)
    elif isinstance(source, np.ndarray):
        pixels = _from_array(source, name)
    elif isinstance(source, Image.Image):
        if 0 in source.size:
            raise ValueError(f"{name} is a PIL image of {source.width} × {source.height} pixels; an image has one at least")
        with _CALLERS_IMAGES, quiet():
            pixels = _upright(_from_pil(source, name), source)
    elif isinstance(source, str | pathlib.Path):
        with opened(source, name) as image:
            return _from_file(image, name, enough)
    else:
        raise ValueError(f"{name} is of type {type(source).__name__}; an image is a path, a PIL image or a numpy array")
    return pixels, pixels.shape[:2]


def lazy_images(images: Iterable[ImageLike] | ImageLike) -> list[LazyImage]:
    """The same pictures, to be read when their turn comes; those that have no name are called `image_0000.png` and so on."""
    return [
        image
        if isinstance(image, LazyImage)
        else LazyImage(
            str(image) if isinstance(image, str | pathlib.Path) else f"image_{index:04d}.png",
            partial(read_image, image, describe(image, index)),
            _file(image),
        )
        for index, image in enumerate(several(images))
    ]


def _file(image: ImageLike) -> pathlib.Path | None:
    """Where a picture comes from, as far as one can tell."""
    name = image if isinstance(image, str | pathlib.Path) else getattr(image, "filename", None)  # PIL's, "" if none
    return pathlib.Path(os.fsdecode(name)) if name else None


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


def list_images(folder: str | pathlib.Path, extensions: Sequence[str] = IMAGE_EXTENSIONS) -> list[pathlib.Path]:
    """The images directly in a folder, in natural order (`2.png` before `10.png`); hidden files are skipped.

    Args:
        folder: where to look; not in its subfolders.
        extensions: endings of names that count, in upper or lower case; one or several.

    Raises:
        FileNotFoundError: the folder is not there, or has no such file.
        NotADirectoryError: it is a file.
    """
    folder = pathlib.Path(folder)
    if not folder.exists():
        raise FileNotFoundError(f"{folder} does not exist; it should be a folder of images")
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file, not a folder of images")
    wanted = endings(extensions)
    found = [path for path in folder.iterdir() if path.suffix.lower() in wanted and not path.name.startswith(".") and path.is_file()]
    if not found:
        raise FileNotFoundError(f"{folder} has no images: no file in it ends in {', '.join(sorted(wanted))}")
    return sorted(found, key=lambda path: natural(path.name))


def natural(name: str) -> tuple:
    """Sorts `2.png` before `10.png`, as a key; a run of digits counts as its length without zeros in front, then the digits."""
    parts = re.split(r"([0-9]+)", name.lower())
    return [(len(part.lstrip("0")), part.lstrip("0")) if index % 2 else part for index, part in enumerate(parts)], name


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


def _from_file(image: Image.Image, name: str, enough: Callable[[int, int], tuple[int, int]] | None) -> tuple[np.ndarray, tuple[int, int]]:
    """The upright pixels of a file just opened, reduced if they may be, and its own height and width."""
    factor = 1
    if enough is not None and is_jpeg(image):
        height, width = image.size if orientation(image) in SIDEWAYS else image.size[::-1]
        factor = _reduction((height, width), enough(height, width))
    pixels, factor = decoded(image, name, factor)
    pixels = _upright(pixels, image)
    return pixels, (factor * pixels.shape[0], factor * pixels.shape[1])


def decoded(image: Image.Image, name: str, factor: int = 1) -> tuple[np.ndarray, int]:
    """The pixels (H, W, 3) uint8 of a file just opened, not turned, and by how much its sides were divided: `factor`, or 1."""
    with sentences(name):
        pixels = decode_jpeg(image, factor)
    return (_from_pil(image, name), 1) if pixels is None else (pixels, factor)


def _reduction(size: tuple[int, int], least: tuple[int, int]) -> int:
    """By how much sides may be divided: each pixel is to stand for as many whole ones as any other, lest the picture shift."""
    return next((f for f in (8, 4, 2) if all(side % f == 0 and side >= f * want for side, want in zip(size, least, strict=True))), 1)


def _from_pil(image: Image.Image, name: str) -> np.ndarray:
    """(H, W, 3) uint8 as stored."""
    with sentences(name):
        frames = getattr(image, "n_frames", 1) if image.format in _SEQUENCES else 1
        if frames == 1:
            image.load()
    if frames > 1:
        raise ValueError(f"{name} holds {frames} frames; pass one of them, as a file of its own, or by image.seek(i) and image.copy()")
    if image.mode.startswith("I;16"):
        return _from_array(np.asarray(image), name)
    if image.mode in ("I", "F"):
        raise ValueError(f"{name} has 32-bit pixels (mode {image.mode}), whose range is unknown; convert it to 8 or 16 bit")
    pixels = np.empty((image.height, image.width, 3), np.uint8)
    for top in range(0, image.height, _STRIP):  # Pillow hands over a copy of a copy
        strip = image.crop((0, top, image.width, min(top + _STRIP, image.height)))
        if strip.mode in ("P", "PA"):
            strip = strip.convert("RGBA")  # the way of a palette with transparency that Pillow does not warn about
        try:
            pixels[top : top + _STRIP] = np.asarray(strip.convert("RGB"))
        except ValueError as error:
            raise ValueError(f"{name} has pixels of mode {image.mode}, which Pillow cannot convert to RGB; convert it first") from error
    return pixels


def _upright(pixels: np.ndarray, image: Image.Image) -> np.ndarray:
    """(H, W, 3) uint8 as stored, turned as the image's EXIF says."""
    turn = UPRIGHT.get(orientation(image))
    if turn is None:
        return pixels
    turned = turn(pixels.view("V3")[..., 0])  # a pixel is one item
    upright = np.empty(turned.shape, turned.dtype)
    for top in range(0, turned.shape[0], _TILE):
        for left in range(0, turned.shape[1], _TILE):
            tile = np.s_[top : top + _TILE, left : left + _TILE]
            upright[tile] = turned[tile]
    return upright.view(np.uint8).reshape(*upright.shape, 3)


def orientation(image: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) where there is none or it cannot be read."""
    try:
        return image.getexif().get(ExifTags.Base.Orientation, 1)
    except Exception:  # broken EXIF makes Pillow raise almost anything
        return 1


def _to_8_bit(array: np.ndarray) -> np.ndarray:
    """65535 -> 255, rounding to the nearest."""
    return ((array.astype(np.uint32) + 128) // 257).astype(np.uint8)
