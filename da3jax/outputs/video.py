"""Depth as a video, alone and beside the photographs."""

from __future__ import annotations

import pathlib

import numpy as np

from da3jax.outputs.atomic import atomic
from da3jax.outputs.colormap import table
from da3jax.outputs.depth_vis import NO_DEPTH
from da3jax.outputs.mp4 import encode_mp4
from da3jax.outputs.options import ExportOptions
from da3jax.types import Prediction

_SAMPLES = 1 << 22
"""Pixels, evenly spaced over all views, that decide the scale where there are more."""


def write_video(prediction: Prediction, export_dir: pathlib.Path, options: ExportOptions) -> list[pathlib.Path]:
    """Writes `video/depth.mp4`, and `video/side_by_side.mp4` with the photographs to the left of it; a frame a view, `video_fps` a second.

    Colours are those of `depth_vis`, near warm and bright, far cold and dark along inverse depth; but one scale, from the 2nd to the
    98th percentile over all views together, holds for all frames, so that a place keeps its colour and nothing flickers. Sky does not
    count for the scale, and is as far as can be. A pixel without a positive finite depth is grey. MP4 with H.264 4:2:0; an odd
    side grows by a repeated row or column.
    """
    low, high = _scale(prediction)

    def coloured(view: int) -> np.ndarray:
        sky = None if prediction.sky is None else prediction.sky[view].astype(bool)
        return _colour(prediction.depth[view], sky, low, high)

    views = range(len(prediction.depth))
    folder, paths = export_dir / "video", []
    for name, pictures in (
        ("depth", map(coloured, views)),
        ("side_by_side", (np.concatenate([prediction.processed_images[view], coloured(view)], axis=1) for view in views)),
    ):
        path = folder / f"{name}.mp4"
        content = encode_mp4(pictures, options.video_fps)
        with atomic(path) as temp:
            temp.write_bytes(content)
        paths.append(path)
    return paths


def _scale(prediction: Prediction) -> tuple[float, float]:
    """The 2nd and the 98th percentile of inverse depth, over the pixels of all views that have a depth and are not sky."""
    step = max(1, prediction.depth.size // _SAMPLES)
    depth = prediction.depth.reshape(-1)[::step].astype(np.float64)
    counts = np.isfinite(depth) & (depth > 0)
    if prediction.sky is not None:
        counts &= ~prediction.sky.reshape(-1)[::step].astype(bool)
    if not counts.any():
        return 0.0, 0.0
    low, high = np.percentile(1 / depth[counts], (2, 98))
    return float(low), float(high)


def _colour(depth: np.ndarray, sky: np.ndarray | None, low: float, high: float) -> np.ndarray:
    """(H, W, 3) uint8 of a depth (H, W), between inverse depths `low` and `high`; the middle of the map where they are equal."""
    depth = depth.astype(np.float64)
    valid = np.isfinite(depth) & (depth > 0)
    inverse = 1 / np.where(valid, depth, 1)
    t = np.clip((inverse - low) / (high - low), 0, 1) if high > low else np.full_like(inverse, 0.5)
    picture = table()[np.round(255 * t).astype(np.uint8)]
    picture[~valid] = NO_DEPTH
    if sky is not None:
        picture[sky] = table()[0]
    return picture
