"""Exports leave the files alone that their pictures come from."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Sequence

from da3jax.outputs.pictures import picture_names
from da3jax.types import LazyImage

_FOLDERS = ("depth_vis", "depth_png16", "video", "feat_vis", "colmap", "nerfstudio")
"""Formats that write pictures, videos or models, each into the folder of its name."""

_COPIES = ("colmap", "nerfstudio")
"""Formats that write a copy of each picture into the folder `images` of theirs."""


def check_inputs_stay(formats: Sequence[str], export_dir: str | pathlib.Path, images: Sequence[LazyImage] | None) -> None:
    """Makes sure that none of the pictures is read from a folder that a format writes into, nor from a file that the copy of one replaces.

    So photographs in `depth_vis`, the frames of `video/depth.mp4`, and a model in `colmap` with the pictures beside it are not replaced by
    what is made of them, even where a link leads to them.

    Args:
        formats: names of formats.
        export_dir: where they write.
        images: pictures, of which those count that have a file.

    Raises:
        ValueError: one is; the message names the file.
    """
    for name in formats:
        folder = pathlib.Path(export_dir) / name
        if name in _FOLDERS and (file := _first_inside(folder, images)) is not None:
            raise ValueError(
                f"{file} is in {folder}, which export format {name!r} writes into; what is read stays as it is; choose another folder"
            )
        if name in _COPIES and images is not None:
            _check_copies(folder / "images", images)


def check_inputs_outside(export_dir: str | pathlib.Path, images: Sequence[LazyImage] | None) -> None:
    """Makes sure that none of the pictures is read from below a folder that is to be cleaned: an earlier export may have written it.

    Raises:
        ValueError: one is; the message names the file.
    """
    if (file := _first_inside(pathlib.Path(export_dir), images)) is not None:
        raise ValueError(
            f"{file} is read, and lies in {export_dir}, which --auto-cleanup is to clean; choose another export folder, or leave it out"
        )


def _first_inside(folder: pathlib.Path, images: Sequence[LazyImage] | None) -> pathlib.Path | None:
    """A file of the pictures that is below the folder, by name or by where links lead."""
    for file in sorted({image.file for image in images or () if image.file is not None}):
        if any(pathlib.Path(spell(file)).is_relative_to(spell(folder)) for spell in (os.path.abspath, os.path.realpath)):
            return file
    return None


def _check_copies(folder: pathlib.Path, images: Sequence[LazyImage]) -> None:
    sources = [_identity(image.file or image.name) for image in images]
    read = set(sources) - {None}
    for image, source, name in zip(images, sources, picture_names(images, len(images)), strict=True):
        path = folder / name
        if (there := _identity(path)) not in read:
            continue
        if there == source:
            raise ValueError(f"{path} would be overwritten by a copy of itself, compressed anew; choose another folder to export to")
        raise ValueError(
            f"{path} is a picture that is read, and the copy of {image.file or image.name} would replace it; "
            f"choose another folder to export to"
        )


def _identity(path: str | pathlib.Path) -> tuple[int, int] | None:
    """What all paths of one file have in common, whatever links lead to it; None where there is no file: a name need not be that of one."""
    with contextlib.suppress(OSError, ValueError):
        found = pathlib.Path(path).stat()
        return found.st_dev, found.st_ino
    return None
