"""A prediction at the size of the photographs."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import numpy as np

from da3jax.inference.upsampling import METHODS, upsample
from da3jax.inputs import read_image, several
from da3jax.inputs.images import ImageLike, describe
from da3jax.schema import one_of
from da3jax.types import Prediction


def to_native(prediction: Prediction, images: Sequence[ImageLike] | ImageLike | None = None, *, method: str = METHODS[0]) -> Prediction:
    """The prediction at the size of the upright photographs, so that depth, colours and cameras are those of their pixels.

    Depth, confidence and sky are upsampled view by view (`da3jax.inference.upsampling.upsample`). `edge_aware` is bilinear in inverse
    depth on surfaces, and where they end gives each pixel to one of them by the photograph's colours. On rendered scenes at eight times
    the size, with depth as blurred as networks leave it, it makes 0.42 of bilinear's error and a fifth of its pixels that hang between
    surfaces, in twice the time, a third of a second for 12 megapixels (benchmarks/README.md, "Native resolution").

    What a crop has left out, and what views of several sizes lose when they are cropped to the smallest, has depth 0 and confidence 0;
    exports take it for no depth. Views of several sizes share arrays as high and as wide as the largest: each lies in the upper left
    corner, as large as `image_sizes` says, and beyond is black, without depth. Memory is what the arrays are: depth, confidence, sky and
    picture take 12 bytes a pixel of a photograph, and points, where they are in the prediction, as many again.

    Args:
        prediction: numpy or device arrays, as `inference` returned them; it is not changed.
        images: the N pictures that `inference` was given; they are read one at a time. None leaves `processed_images` None, without which
            some exports cannot do, and finds edges by depth alone.
        method: `edge_aware`, `bilinear` or `nearest`.

    Returns:
        Numpy arrays. `depth`, `conf`, `sky` and `processed_images` are at the photographs' size, `intrinsics` are in their pixels, and
        `from_image` is the identity. `points` are made of depth and cameras, NaN where there is no depth; None where intrinsics are
        None. Gaussians, one a processed pixel, are left out; rays and `aux` stay as they are, of the image that
        `network_from_image` leads to from the photograph.
        A prediction that is at this size already is returned as it is, its images not being looked at.

    Raises:
        ValueError: an unknown method, a prediction that does not say how its images were processed, or images that are not those that
            it was made of.
        OSError: an image that cannot be read.
    """
    one_of("method", method, METHODS)
    prediction = jax.device_get(prediction)
    for name in ("from_image", "image_sizes"):
        if getattr(prediction, name) is None:
            raise ValueError(f"to_native needs the prediction's {name}, which is None; predictions of `inference` have it")
    count, sizes = len(prediction.depth), prediction.image_sizes
    height, width = sizes.max(axis=0).tolist()
    if images is not None and len(images := several(images)) != count:
        raise ValueError(f"there are {len(images)} images for the prediction's {count} views; they are those that it was made of")
    from_image = np.asarray(prediction.from_image, np.float64)
    if prediction.depth.shape[1:] == (height, width) and (from_image == np.eye(3)).all():
        return prediction
    for view, matrix in enumerate(from_image):
        if (matrix[[0, 1, 2, 2], [1, 0, 0, 1]] != 0).any() or matrix[0, 0] <= 0 or matrix[1, 1] <= 0 or matrix[2, 2] != 1:
            raise ValueError(f"from_image of view {view} is {matrix.tolist()}; it scales and moves pixels, and does nothing else")

    guides, conf, sky = prediction.processed_images, prediction.conf, prediction.sky
    shape = (count, height, width)
    depths = np.zeros(shape, np.float32)
    confs = None if conf is None else np.zeros(shape, np.float32)
    skies = None if sky is None else np.zeros(shape, bool)
    pictures = None if images is None else np.zeros((*shape, 3), np.uint8)
    for view in range(count):
        size = tuple(sizes[view].tolist())
        picture = None if images is None else _picture(images[view], view, size)
        layers = (None if x is None else x[view] for x in (prediction.depth, conf, sky, guides))
        own = (*upsample(*layers, picture, from_image[view], size, method), picture)
        for whole, part in zip((depths, confs, skies, pictures), own, strict=True):
            if whole is not None:
                whole[view, : size[0], : size[1]] = part

    intrinsics = prediction.intrinsics
    if intrinsics is not None:
        intrinsics = (np.linalg.inv(from_image) @ intrinsics).astype(intrinsics.dtype)
    has_points = prediction.points is not None and intrinsics is not None
    return dataclasses.replace(
        prediction,
        depth=depths,
        conf=confs,
        sky=skies,
        intrinsics=intrinsics,
        points=_points(depths, intrinsics, prediction.extrinsics) if has_points else None,
        gaussians=None,
        processed_images=pictures,
        from_image=np.tile(np.eye(3), (count, 1, 1)),
        network_from_image=prediction.from_image,
    )


def _picture(image: ImageLike, view: int, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8, if it is of that size."""
    name = describe(image, view)
    picture = read_image(image, name)
    if picture.shape[:2] != size:
        raise ValueError(
            f"{name} is {picture.shape[0]} × {picture.shape[1]} (H × W), but view {view} of the prediction was made of an image of "
            f"{size[0]} × {size[1]}; give the images that it was made of, in the same order"
        )
    return picture


def _points(depth: np.ndarray, intrinsics: np.ndarray, extrinsics: np.ndarray | None) -> np.ndarray:
    """(N, H, W, 3) float32 in the world, or in each camera's frame without extrinsics; NaN where depth is not positive."""
    points = np.empty((*depth.shape, 3), np.float32)
    rows, columns = (np.arange(side) + 0.5 for side in depth.shape[1:])
    for view, (whole, distance) in enumerate(zip(points, depth, strict=True)):
        pose = np.eye(3, 4) if extrinsics is None else extrinsics[view, :3].astype(np.float64)
        back = pose[:, :3].T @ np.linalg.inv(intrinsics[view].astype(np.float64))
        centre = -pose[:, :3].T @ pose[:, 3]
        distance = np.where(distance > 0, distance, np.float32(np.nan))
        for axis in range(3):
            across, down = back[axis, 0] * columns, back[axis, 1] * rows + back[axis, 2]
            direction = across.astype(np.float32) + down.astype(np.float32)[:, None]
            whole[..., axis] = direction * distance + np.float32(centre[axis])
    return points
