"""Pictures of depth beside the photographs."""

from __future__ import annotations

import pathlib

import numpy as np

from da3jax.outputs.atomic import write_bytes
from da3jax.outputs.cameras import view_sizes
from da3jax.outputs.colormap import table
from da3jax.outputs.image_file import encode_jpeg
from da3jax.outputs.legend import legend
from da3jax.outputs.options import ExportOptions
from da3jax.types import Prediction

NO_DEPTH = (128, 128, 128)
"""The colour of pixels without a depth; the map has no such grey."""


_SAMPLES = 1 << 22
"""Pixels, evenly spaced over all views, that decide the scale where there are more."""


def inverse_range(depth: np.ndarray, mask: np.ndarray | None = None) -> tuple[float, float]:
    """The 2nd and 98th percentiles of inverse depth of any shape, over what is finite, positive and in the mask; zeros where nothing is."""
    step = max(1, depth.size // _SAMPLES)
    depth = depth.reshape(-1)[::step]
    valid = np.isfinite(depth) & (depth > 0)
    if mask is not None:
        valid &= mask.reshape(-1)[::step]
    if not valid.any():
        return 0.0, 0.0
    low, high = np.percentile(1 / depth[valid].astype(np.float64), (2, 98))
    return float(low), float(high)


def colour_depth(depth: np.ndarray, limits: tuple[float, float] | None = None) -> np.ndarray:
    """Colours inverse depth, near warm and bright, far cold and dark.

    A pixel without a positive finite depth is grey; a constant depth has the colour of the middle.

    Args:
        depth: (H, W) along the camera's z axis, in any unit.
        limits: inverse depth of the first and last colour; None stretches the map between its 2nd and 98th percentiles.

    Returns:
        (H, W, 3) uint8 sRGB.
    """
    low, high = inverse_range(depth) if limits is None else limits
    valid = np.isfinite(depth) & (depth > 0)
    inverse = 1 / depth[valid].astype(np.float64)
    t = np.clip((inverse - low) / (high - low), 0, 1) if high > low else np.full_like(inverse, 0.5)
    picture = np.full((*depth.shape, 3), NO_DEPTH, np.uint8)
    picture[valid] = table()[np.round(255 * t).astype(np.uint8)]
    return picture


def write_depth_vis(prediction: Prediction, export_dir: pathlib.Path, options: ExportOptions) -> list[pathlib.Path]:
    """Writes `depth_vis/0000.jpg` and so on, one a view and as large as it: the photograph, to its right the coloured depth, and a legend.

    Each view is stretched by itself, which shows most of it, or with `depth_vis_shared_scale` all by one scale, so that a colour is
    one depth in all of them. Depth without metres is marked as relative. `depth_vis_legend` off leaves the legend out.
    """
    shared = inverse_range(prediction.depth) if options.depth_vis_shared_scale else None
    paths = []
    for view, (height, width) in enumerate(view_sizes(prediction)):
        image, depth = (x[view, :height, :width] for x in (prediction.processed_images, prediction.depth))
        path = export_dir / "depth_vis" / f"{view:04d}.jpg"
        limits = shared or inverse_range(depth)
        parts = [image, colour_depth(depth, limits)]
        if options.depth_vis_legend:
            parts.append(legend(len(image), *limits, prediction.is_metric))
        write_bytes(path, encode_jpeg(np.concatenate(parts, axis=1)))
        paths.append(path)
    return paths
