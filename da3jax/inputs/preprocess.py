"""Pictures and cameras -> what the network takes: one size in multiples of the patch, ImageNet-normalised, intrinsics to match.

The steps are those of the official `InputProcessor`, to one grey level, plus the EXIF orientation, which it ignores.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from da3jax.config import PATCH_SIZE
from da3jax.inputs.cameras import Matrices, check_extrinsics, check_intrinsics
from da3jax.inputs.exif import intrinsics_from_exif
from da3jax.inputs.images import ImageLike, describe, read_with_size, several
from da3jax.inputs.resize import resize_area, resize_cubic
from da3jax.schema import is_integer, one_of
from da3jax.types import Views

METHODS = ("upper_bound_resize", "lower_bound_resize", "upper_bound_crop", "lower_bound_crop")
"""Which side becomes `process_res`, the longest or the shortest, and how both become multiples of the patch."""

logger = logging.getLogger(__name__)

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
_NORMALISED = (np.arange(256, dtype=np.float32)[:, None] / np.float32(255) - np.float32(IMAGENET_MEAN)) / np.float32(IMAGENET_STD)
"""(256, 3) what the network sees of a grey level, in the float32 steps of the official code."""
_SHOWN = (np.clip(_NORMALISED * np.float64(IMAGENET_STD) + np.float64(IMAGENET_MEAN), 0, 1) * 255).astype(np.uint8)
"""(256, 3) what `processed_images` shows of it: there and back, truncated, which costs some levels one."""


def preprocess(
    images: Sequence[ImageLike] | ImageLike,
    *,
    extrinsics: Matrices = None,
    intrinsics: Matrices = None,
    use_exif: bool = False,
    process_res: int = 504,
    process_res_method: str = "upper_bound_resize",
    max_long_side: int | None = None,
    num_workers: int | None = None,
    fast_decode: bool = False,
) -> Views:
    """Images, and cameras if known, as `da3jax.forward` takes them: one scene of S views.

    Each image is turned upright (EXIF), resized once so that its longest (`upper_bound`) or shortest (`lower_bound`) side is
    `process_res`, then both sides are brought to a multiple of 14: `resize` to the nearest (up on ties), `crop` down, about the centre.
    If the results differ in size, all are cropped about their centres to the smallest height and width, and a warning names the files
    that lose something. Intrinsics follow each step as in the official code: rows 0 and 1 scale with the integer sizes (no half-pixel
    shift), crops move the principal point.

    Args:
        images: S files, PIL images or arrays (see `read_image`), mixed as you like; a single one counts as a list of one.
        extrinsics: (S, 3, 4) or (S, 4, 4) world-to-camera, as an array or a list; in a list None is a view whose pose is not known. They
            pass as they are.
        intrinsics: (S, 3, 3) pixels of the upright image at its own size, known for all or some views likewise.
        use_exif: whether a view that was given no intrinsics gets those of its EXIF, if it has any (`intrinsics_from_exif`).
        process_res: pixels, at least 14.
        process_res_method: one of `METHODS`.
        max_long_side: images whose longer side would have more pixels than this are refused: with a `lower_bound` method, nothing else
            keeps a panorama from becoming very long. None for any length.
        num_workers: threads that decode and resize; None is as many as there are cores, at most 8. No more images than this are held at
            their own size at a time, but for PIL images, which keep what they have decoded. The result does not depend on it.
        fast_decode: whether JPEG files are decoded at a half, a quarter or an eighth of each side, where that is whole and at least twice
            the processed size: faster, and not quite the same pixels. Of 12 megapixels at 504, values are 0.1 to 0.3 of 255 grey levels
            off on average and 16 at most (benchmarks/README.md). Cameras, `from_image` and `image_sizes` stay. Files of other formats,
            PIL images, arrays and `LazyImage` are not affected.

    Returns:
        Views with a leading axis of one scene: images and intrinsics float32, extrinsics float64, or float32 as given; NaN for a
        view that has none, or None; processed_images uint8; from_image float64, what intrinsics were multiplied by; image_sizes.

    Raises:
        ValueError: no images; an image that is an animation, of unknown range, or too thin; an option that is wrong; a matrix
            that can be no camera (see `check_extrinsics`, `check_intrinsics`).
        OSError: a file that is missing (FileNotFoundError) or cannot be read.
        ModuleNotFoundError: a HEIC file, and pillow-heif is not installed.
    """
    one_of("process_res_method", process_res_method, METHODS)
    if not is_integer(process_res) or process_res < PATCH_SIZE:
        raise ValueError(f"process_res is {process_res!r}; it is a whole number of pixels, at least one patch ({PATCH_SIZE})")
    if max_long_side is not None and (not is_integer(max_long_side) or max_long_side < PATCH_SIZE):
        raise ValueError(f"max_long_side is {max_long_side!r}; it is a whole number of pixels, at least one patch ({PATCH_SIZE}), or None")
    if num_workers is not None and (not is_integer(num_workers) or num_workers < 1):
        raise ValueError(f"num_workers is {num_workers!r}; it is a number of threads, at least 1, or None")
    images = several(images)
    if not images:
        raise ValueError("there are no images; preprocess needs at least one")
    names = [describe(image, index) for index, image in enumerate(images)]
    extrinsics, intrinsics = check_extrinsics(extrinsics, names), check_intrinsics(intrinsics, names)
    if use_exif:
        given = np.full((len(images), 3, 3), np.nan) if intrinsics is None else intrinsics
        either = [intrinsics_from_exif(image) if np.isnan(matrix).any() else matrix for image, matrix in zip(images, given, strict=True)]
        intrinsics = check_intrinsics(either, names)
        if found := [index for index, matrix in enumerate(given) if np.isnan(matrix).any() and either[index] is not None]:
            logger.info("the focal lengths of views %s are those of their EXIF", found)

    def process(image: ImageLike, name: str) -> tuple[np.ndarray, np.ndarray, tuple[int, int]]:
        def targets(height: int, width: int) -> tuple[tuple[int, int], tuple[int, int]]:
            return _sizes(height, width, name, process_res, process_res_method, max_long_side)

        def enough(height: int, width: int) -> tuple[int, int]:
            first, final = targets(height, width)
            return 2 * max(first[0], final[0]), 2 * max(first[1], final[1])

        pixels, size = read_with_size(image, name, enough if fast_decode else None)
        return *_fit(pixels, size, *targets(*size), process_res_method), size

    with ThreadPoolExecutor(num_workers or min(8, os.cpu_count() or 1, len(images))) as pool:
        pixels, changes, sizes = zip(*pool.map(process, images, names), strict=True)
    pixels, crops = _crop_to_smallest(pixels, names)
    from_image = crops @ np.stack(changes)
    if intrinsics is not None:
        intrinsics = (from_image @ intrinsics).astype(np.float32)[None]
    if extrinsics is not None:
        extrinsics = extrinsics[None]
    return Views(_look_up(_NORMALISED, pixels)[None], extrinsics, intrinsics, _look_up(_SHOWN, pixels), from_image, np.array(sizes))


def _sizes(
    height: int, width: int, name: str, process_res: int, method: str, max_long_side: int | None
) -> tuple[tuple[int, int], tuple[int, int]]:
    """What an image of `height` × `width` is resized to first, by `process_res` alone, and what it is in the end, in whole patches."""
    scale = process_res / _bound(method)(height, width)
    first = max(1, round(height * scale)), max(1, round(width * scale))  # Python's round, as in the official code: halves to even
    if method.endswith("resize"):
        final = tuple((side + PATCH_SIZE // 2) // PATCH_SIZE * PATCH_SIZE for side in first)
    else:
        final = tuple(side // PATCH_SIZE * PATCH_SIZE for side in first)
    if min(final) < PATCH_SIZE:
        raise ValueError(
            f"{name} is too thin: {height} × {width} (H × W) becomes {final[0]} × {final[1]} by {method} at process_res {process_res}, "
            f"less than one patch of {PATCH_SIZE}; crop the image, or choose a larger process_res or a lower_bound method"
        )
    if max_long_side is not None and max(final) > max_long_side:
        raise ValueError(
            f"{name} would be {final[0]} × {final[1]} (H × W) by {method} at process_res {process_res}; its longer side is to be at most "
            f"{max_long_side}: crop the image, or choose a smaller process_res or an upper_bound method"
        )
    return first, final


def _bound(method: str) -> Callable[..., int]:
    """Which of two sides `process_res` is about."""
    return max if method.startswith("upper") else min


def _fit(
    image: np.ndarray, size: tuple[int, int], first: tuple[int, int], final: tuple[int, int], method: str
) -> tuple[np.ndarray, np.ndarray]:
    """One image of `size`, perhaps reduced, at its processed size, (h, w, 3) uint8, and the (3, 3) that takes its intrinsics there."""
    height, width = size
    bound = _bound(method)
    grows = bound(first) > bound(size)  # as in the official code, whatever the other side does
    image = (resize_cubic if grows else resize_area)(image, *first)
    change = np.diag([first[1] / width, first[0] / height, 1.0])
    if method.endswith("resize"):
        grows = final[0] > first[0] or final[1] > first[1]
        image = (resize_cubic if grows else resize_area)(image, *final)
        return image, np.diag([final[1] / first[1], final[0] / first[0], 1.0]) @ change
    image, crop = _centre_crop(image, *final)
    return image, crop @ change


def _centre_crop(image: np.ndarray, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """The middle of an image, and the (3, 3) that moves the principal point with it."""
    top, left = (image.shape[0] - height) // 2, (image.shape[1] - width) // 2
    return image[top : top + height, left : left + width], np.array([[1.0, 0, -left], [0, 1, -top], [0, 0, 1]])


def _crop_to_smallest(images: Sequence[np.ndarray], names: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """All images at the smallest height and width among them, (S, H, W, 3), and what that does to intrinsics, (S, 3, 3).

    Sizes differ by multiples of 14, so that the centre is a whole pixel, however one rounds.
    """
    height, width = (min(image.shape[axis] for image in images) for axis in (0, 1))
    warn_of_crops([image.shape[:2] for image in images], names, height, width)
    images, crops = zip(*(_centre_crop(image, height, width) for image in images), strict=True)
    return np.stack(images), np.stack(crops)


def warn_of_crops(sizes: Sequence[tuple[int, int]], names: Sequence[str], height: int, width: int) -> None:
    """Names those images of these processed sizes that lose something where all are cropped to `height` and `width`."""
    cropped = [f"{name} ({size[0]} × {size[1]})" for size, name in zip(sizes, names, strict=True) if size != (height, width)]
    if cropped:
        more = f" and {len(cropped) - 10} more" if len(cropped) > 10 else ""
        logger.warning(
            "the processed images differ in size (H × W): %d of %d are cropped about their centre to %d × %d: %s%s",
            len(cropped), len(sizes), height, width, ", ".join(cropped[:10]), more,
        )  # fmt: skip


def _look_up(table: np.ndarray, images: np.ndarray) -> np.ndarray:
    """`table[level, channel]` for (S, H, W, 3) levels, a view and a channel at a time: NumPy widens an index to 64 bit."""
    result = np.empty(images.shape, table.dtype)
    for view, image in zip(result, images, strict=True):
        for channel, levels in enumerate(table.T):
            view[..., channel] = levels.take(image[..., channel])
    return result
