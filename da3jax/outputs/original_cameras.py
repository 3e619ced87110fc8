"""The cameras of the pictures at their own size, as reconstruction tools want them."""

from __future__ import annotations

import dataclasses

import numpy as np

from da3jax.outputs.cameras import check_invertible
from da3jax.types import Prediction

_RIGID_TOLERANCE = 1e-2
"""How far an entry of a rotation may be from that of the nearest true one; known cameras are admitted to half of that."""

_SKEW_TOLERANCE = 0.1  # pixels that the skew moves the top or the bottom of the picture by


@dataclasses.dataclass(frozen=True)
class OriginalCameras:
    """Pinhole cameras of N upright pictures at their own size; all float64."""

    intrinsics: np.ndarray
    """(N, 3, 3) pixels, no skew; the picture spans 0 to its width and height, so that the centre of its first pixel is (0.5, 0.5)."""
    rotations: np.ndarray
    """(N, 3, 3) world-to-camera, true rotations to the last bits."""
    translations: np.ndarray
    """(N, 3) world-to-camera."""
    sizes: np.ndarray
    """(N, 2) height and width, whole numbers."""
    to_original: np.ndarray
    """(N, 3, 3) from pixels (x, y, 1) of the processed image to those of the picture."""


def original_cameras(prediction: Prediction, file: str) -> OriginalCameras:
    """The prediction's cameras, taken back from the processed images to the pictures that those were made from.

    `from_image` scales and crops; preprocessing resizes edge to edge, so that with pixel centres at halves it is exact as it is. Where the
    prediction has no `from_image` or no `image_sizes`, the processed images count as the pictures. A single view without a pose is where
    the world is. Rotations are replaced by the nearest true ones about the same centres: a quaternion can hold no other.

    Args:
        prediction: N views with intrinsics, and with extrinsics if they are several.
        file: what is being written, for messages.

    Raises:
        ValueError: a camera that is not finite or cannot be inverted, has skew, or has no rotation.
    """
    views, height, width = prediction.depth.shape
    to_original, sizes = np.tile(np.eye(3), (views, 1, 1)), np.tile((height, width), (views, 1))
    if prediction.from_image is not None and prediction.image_sizes is not None:
        from_image = prediction.from_image.astype(np.float64)
        check_invertible(from_image, "from_image", file)
        to_original, sizes = np.linalg.inv(from_image), prediction.image_sizes.astype(int)

    intrinsics = prediction.intrinsics.astype(np.float64)
    check_invertible(intrinsics, "intrinsics", file)
    intrinsics = to_original @ intrinsics
    for view, matrix in enumerate(intrinsics):
        skew = abs(matrix[0, 1] / matrix[1, 1]) * sizes[view, 0] / 2
        if skew > _SKEW_TOLERANCE:
            raise ValueError(
                f"{file} cannot be made: intrinsics of view {view} have skew ({skew:.2g} pixels at the top), which its cameras lack"
            )
    intrinsics[:, 0, 1] = 0

    extrinsics = np.tile(np.eye(3, 4), (views, 1, 1)) if prediction.extrinsics is None else prediction.extrinsics[:, :3].astype(np.float64)
    check_invertible(extrinsics, "extrinsics", file)
    left, _, right = np.linalg.svd(extrinsics[:, :, :3])
    rotations = left @ right
    for view, rotation in enumerate(rotations):
        if np.linalg.det(rotation) < 0 or np.abs(rotation - extrinsics[view, :, :3]).max() > _RIGID_TOLERANCE:
            raise ValueError(f"{file} cannot be made: extrinsics of view {view} are no rotation beside a translation")
    # The centres stay: far from the world's origin, the last bit of a rotation is a large step of the camera.
    centres = -np.linalg.solve(extrinsics[:, :, :3], extrinsics[:, :, 3:])
    return OriginalCameras(intrinsics, rotations, (-rotations @ centres)[:, :, 0], sizes, to_original)
