"""Depth as a video, alone and beside the photographs."""

from __future__ import annotations

import logging
import pathlib
from collections.abc import Iterator

import numpy as np
from PIL import Image

from da3jax.outputs.atomic import write_bytes
from da3jax.outputs.depth_vis import colour_depth, inverse_range
from da3jax.outputs.mp4 import LONGEST_SIDE, encode_mp4
from da3jax.outputs.options import ExportOptions
from da3jax.types import Prediction

logger = logging.getLogger(__name__)

_FARTHEST = np.finfo(np.float32).max


def write_video(prediction: Prediction, export_dir: pathlib.Path, options: ExportOptions) -> list[pathlib.Path]:
    """Writes `video/depth.mp4`, and `video/side_by_side.mp4` with the photographs to the left of it; a frame a view, `video_fps` a second.

    Colours are those of `depth_vis`, near warm and bright, far cold and dark along inverse depth; but one scale, from the 2nd to the
    98th percentile over all views together, holds for all frames, so that a place keeps its colour and nothing flickers. Sky does not
    count for the scale, and is as far as can be. A pixel without a positive finite depth is grey. MP4 with H.264 4:2:0; an odd
    side grows by a repeated row or column. Pictures that side by side have a longer side than `LONGEST_SIDE` are drawn smaller by a whole
    factor, which a warning says.
    """
    _, height, width = prediction.depth.shape
    factor = -(-max(height, 2 * width) // LONGEST_SIDE)
    if factor > 1:
        logger.warning(
            "video: pictures of %d × %d are drawn %d times smaller; an encoder takes sides up to %d pixels, and two are side by side",
            width,
            height,
            factor,
            LONGEST_SIDE,
        )
    beside = zip(prediction.processed_images, coloured_views(prediction), strict=True)
    videos = {"depth": coloured_views(prediction), "side_by_side": (np.concatenate(pair, axis=1) for pair in beside)}
    paths = [export_dir / "video" / f"{name}.mp4" for name in videos]
    for path, pictures in zip(paths, videos.values(), strict=True):
        pictures = (np.asarray(Image.fromarray(picture).reduce(factor)) for picture in pictures)
        write_bytes(path, encode_mp4(pictures, options.video_fps))
    return paths


def coloured_views(prediction: Prediction) -> Iterator[np.ndarray]:
    """(H, W, 3) uint8 of each view, on one scale: the 2nd to the 98th percentile of inverse depth over what is not sky."""
    sky = np.zeros(prediction.depth.shape, bool) if prediction.sky is None else prediction.sky.astype(bool)
    limits = inverse_range(prediction.depth, ~sky)
    for depth, far in zip(prediction.depth, sky, strict=True):
        yield colour_depth(np.where(far, _FARTHEST, depth), limits)
