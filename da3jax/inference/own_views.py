"""Images of several processes: each reads those that its own devices look at."""

from __future__ import annotations

import dataclasses
import hashlib
import pathlib
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from da3jax.inputs import check_extrinsics, check_intrinsics, lazy_images, preprocess, several
from da3jax.inputs.images import describe
from da3jax.inputs.preprocess import warn_of_crops
from da3jax.parallel.processes import all_or_none, gathered, gathered_texts
from da3jax.types import Views


class OwnImages:
    """Images (1, N, H, W, 3) of which this process has some."""

    def __init__(self, pixels: dict[int, np.ndarray], count: int):
        """`pixels` (H, W, 3) by view, of `count` views in all."""
        self.pixels = pixels
        first = next(iter(pixels.values()))
        self.shape, self.dtype = (1, count, *first.shape), first.dtype

    def views(self, rows: np.ndarray) -> np.ndarray:
        """(…, H, W, 3) the views that `rows` (…) names."""
        return np.stack([self.pixels[row] for row in rows.ravel().tolist()]).reshape(*rows.shape, *self.shape[2:])


def check_same_images(images: Sequence[Any]) -> None:
    """Makes sure that all processes are given the same images, as far as their number and the names of files tell. All call it.

    Raises:
        ValueError: a process has others, more, fewer, or in another order; in all processes.
    """
    if jax.process_count() == 1:
        return
    names = [pathlib.PurePath(image.name).name for image in lazy_images(images)]
    digest = hashlib.sha256("\0".join(names).encode(errors="surrogatepass")).hexdigest()[:16]
    lists = gathered_texts(f"{len(names)} images (SHA-256 of their names {digest}…), {' to '.join(names[:1] + names[-1:])}")
    for number, other in enumerate(lists):
        if other != lists[0]:
            raise ValueError(
                f"process 0 is given {lists[0]}, and process {number} {other}; all are given the same list in the same order, so all need "
                f"to see all images, as on storage that they share"
            )


def read_own(images: Sequence[Any], own: Sequence[int], *, extrinsics: Any, intrinsics: Any, **options: Any) -> Views:
    """As `da3jax.preprocess` on all images, but for `Views.images`, an `OwnImages` with those that `own` names, which alone are read.

    Sizes, cameras and processed images are exchanged. All processes call it.

    Raises:
        ValueError, OSError: as `check_same_images` and `preprocess`; in all processes, if in any.
    """
    images = several(images)
    check_same_images(images)
    names = [describe(image, index) for index, image in enumerate(images)]
    extrinsics, given = check_extrinsics(extrinsics, names), check_intrinsics(intrinsics, names)
    own = np.unique(own)

    def read() -> Views:
        some = None if given is None else [None if np.isnan(given[row]).any() else given[row] for row in own]
        return preprocess([images[row] for row in own], intrinsics=some, **options)

    views = all_or_none(read)
    height, width = gathered(np.array([views.images.shape[2:4]])).min(axis=(0, 1)).tolist()
    warn_of_crops([views.images.shape[2:4]] * len(own), [names[row] for row in own], height, width)  # for what others read
    views = _cropped(views, height, width)
    # As many rows of each process, those of a shorter one twice.
    most = gathered(np.array([len(own)])).max()
    padded = np.minimum(np.arange(most), len(own) - 1)
    unknown = np.full((len(own), 3, 3), np.nan, np.float32)
    known = unknown if views.intrinsics is None else views.intrinsics[0]
    everyone = gathered(own[padded]).ravel()
    from_image, matrices, processed, sizes = (
        _by_view(everyone, gathered(x[padded]), len(images)) for x in (views.from_image, known, views.processed_images, views.image_sizes)
    )
    return Views(
        OwnImages(dict(zip(own.tolist(), views.images[0], strict=True)), len(images)),
        None if extrinsics is None else extrinsics[None],
        None if np.isnan(matrices).all() else matrices[None],
        processed,
        from_image,
        sizes,
    )


def _by_view(rows: np.ndarray, values: np.ndarray, count: int) -> np.ndarray:
    """(N, …) in order, of values (P, n, …) that belong to the views `rows` (P · n,)."""
    out = np.empty((count, *values.shape[2:]), values.dtype)
    out[rows] = values.reshape(-1, *values.shape[2:])
    return out


def _cropped(views: Views, height: int, width: int) -> Views:
    """About the centres, which stay whole pixels: sizes differ by multiples of the patch, 14 pixels."""
    top, left = ((have - want) // 2 for have, want in zip(views.images.shape[2:4], (height, width), strict=True))
    move = np.array([[1.0, 0, -left], [0, 1, -top], [0, 0, 1]])
    rows, columns = slice(top, top + height), slice(left, left + width)
    return dataclasses.replace(
        views,
        images=views.images[:, :, rows, columns],
        intrinsics=None if views.intrinsics is None else (move @ views.intrinsics).astype(np.float32),
        processed_images=views.processed_images[:, rows, columns],
        from_image=move @ views.from_image,
    )
