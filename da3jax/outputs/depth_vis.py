"""Pictures of depth beside the photographs."""

from __future__ import annotations

import io
import pathlib

import numpy as np

from da3jax.outputs.atomic import atomic
from da3jax.outputs.colormap import table
from da3jax.outputs.options import ExportOptions
from da3jax.types import Prediction

NO_DEPTH = (128, 128, 128)
"""The colour of pixels without a depth; the map has no such grey."""


def colour_depth(depth: np.ndarray) -> np.ndarray:
    """Colours inverse depth, near warm and bright, far cold and dark.

    Inverse depth is stretched between its 2nd and 98th percentile. A pixel without a positive finite depth is grey; a constant
    depth has the colour of the middle.

    Args:
        depth: (H, W) along the camera's z axis, in any unit.

    Returns:
        (H, W, 3) uint8 sRGB.
    """
    depth = depth.astype(np.float64)
    valid = np.isfinite(depth) & (depth > 0)
    picture = np.full((*depth.shape, 3), NO_DEPTH, np.uint8)
    if not valid.any():
        return picture
    inverse = 1 / depth[valid]
    low, high = np.percentile(inverse, (2, 98))
    t = np.clip((inverse - low) / (high - low), 0, 1) if high > low else np.full_like(inverse, 0.5)
    picture[valid] = table()[np.round(255 * t).astype(np.uint8)]
    return picture


def write_depth_vis(prediction: Prediction, export_dir: pathlib.Path, options: ExportOptions) -> list[pathlib.Path]:
    """Writes `depth_vis/0000.jpg` and so on, one a view: the photograph, and the coloured depth to its right."""
    from PIL import Image

    paths = []
    for view, (image, depth) in enumerate(zip(prediction.processed_images, prediction.depth, strict=True)):
        path = export_dir / "depth_vis" / f"{view:04d}.jpg"
        picture = Image.fromarray(np.concatenate([image, colour_depth(depth)], axis=1))
        # Encoded in memory first: where the disk is full, Pillow writes a file cut short without a word.
        encoded = io.BytesIO()
        picture.save(encoded, "jpeg", quality=95, subsampling=0)  # whole chroma: here colour is the data
        with atomic(path) as temp:
            temp.write_bytes(encoded.getbuffer())
        paths.append(path)
    return paths
