"""The pictures that cameras belong to, as files beside them."""

from __future__ import annotations

import pathlib
import posixpath
import re
from collections.abc import Callable, Sequence

import numpy as np

from da3jax.outputs.image_file import encode_jpeg, encode_png
from da3jax.types import LazyImage

_JPEG = (".jpg", ".jpeg")

_ODD = re.compile(r'[\s\x00-\x1f\x7f\ud800-\udfff<>:"|?*]')
"""What file names cannot have everywhere, and white space, which ends a name in COLMAP's text files."""


def picture_names(images: Sequence[LazyImage] | None, count: int) -> list[str]:
    """Names for pictures in a folder of their own, relative to it, with slashes: each once, none outside.

    The folder that all pictures share is left out, so that `/data/walk/0001.jpg` and so on become `0001.jpg`, while `left/1.jpg` and
    `right/1.jpg` stay apart. An ending other than PNG's and JPEG's becomes `.png`; white space and what other systems forbid in names
    becomes `_`; a name that is there already, in upper or lower case, gets `_2` and so on.

    Args:
        images: says the names; without them they are `image_0000.png` and so on.
        count: how many.
    """
    if images is None:
        return [f"image_{index:04d}.png" for index in range(count)]
    paths = [posixpath.normpath(image.name.replace("\\", "/")).split("/") for image in images]
    shared = len(posixpath.commonprefix([path[:-1] for path in paths]))
    names, taken = [], set()
    for path in paths:
        *folder, name = [part for part in path[shared:] if part not in ("", ".", "..")] or ["image"]
        base, ending = posixpath.splitext(_ODD.sub("_", name))
        stem = "/".join([*(_ODD.sub("_", part) for part in folder), base])
        ending = ending if ending.lower() in (".png", *_JPEG) else ".png"
        name, number = stem + ending, 1
        while name.lower() in taken:
            number += 1
            name = f"{stem}_{number}{ending}"
        taken.add(name.lower())
        names.append(name)
    return names


def write_pictures(
    images: Sequence[LazyImage],
    names: Sequence[str],
    sizes: np.ndarray,
    folder: pathlib.Path,
    write: Callable[[pathlib.Path, bytes], None],
) -> list[pathlib.Path]:
    """Writes each picture at its own size, upright, one in memory at a time: PNG, or JPEG of quality 95 with whole chroma.

    Args:
        images: N pictures.
        names: of the files, by `picture_names`.
        sizes: (N, 2) height and width that the cameras are for.
        folder: what the names are relative to.
        write: takes a path and what the file there is to hold, as `together` yields it.

    Raises:
        ValueError: a picture of another size.
        OSError: a picture cannot be read or written.
    """
    paths = [folder / name for name in names]
    for image, path, (height, width) in zip(images, paths, sizes.tolist(), strict=True):
        pixels = image.read()
        if pixels.shape[:2] != (height, width):
            raise ValueError(
                f"{image.name} is {pixels.shape[0]} × {pixels.shape[1]} (H × W), and its camera in the prediction is for "
                f"{height} × {width}; images are the pictures that the prediction was made from"
            )
        # At level 3, PNG takes a third of the time for a few per cent of size.
        write(path, encode_jpeg(pixels) if path.suffix.lower() in _JPEG else encode_png(pixels, compress_level=3))
    return paths
