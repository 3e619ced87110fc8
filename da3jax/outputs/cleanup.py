"""Which pixels of a prediction are worth a point."""

from __future__ import annotations

import numpy as np

from da3jax.outputs.options import ExportOptions
from da3jax.types import Prediction

_BLACK, _WHITE = 16, 240
"""A background is black where all channels are below the one, white where all are at least the other (official demo)."""

_LEAST_CONFIDENCE = 1.0


def valid_depth(prediction: Prediction, options: ExportOptions) -> np.ndarray:
    """Where there is a depth, as (N, H, W) bool: finite, positive and, unless `filter_sky` is off, not sky."""
    valid = np.isfinite(prediction.depth) & (prediction.depth > 0)
    if options.filter_sky and prediction.sky is not None:
        valid &= ~prediction.sky.astype(bool)
    return valid


def kept_pixels(prediction: Prediction, options: ExportOptions) -> np.ndarray:
    """The pixels worth a point: those with a depth (`valid_depth`) that no filter takes away.

    | option                               | what it leaves out                                                                      |
    |--------------------------------------|-----------------------------------------------------------------------------------------|
    | `conf_thresh_percentile` p           | confidence below min(max(1.05, pth percentile), 90th), percentiles over what is not sky |
    | `filter_black_bg`, `filter_white_bg` | pixels all of whose channels are below 16, or at least 240                              |
    | `edge_threshold`                     | pixels between two surfaces (`flying_pixels`)                                           |

    In the percentiles a background counts as of the lowest confidence, 1, as in the official demo: what is cut out on black is not
    thinned a second time.

    Returns:
        (N, H, W) bool.

    Raises:
        ValueError: a background is to be left out and there are no images.
    """
    keep = valid_depth(prediction, options)
    background = _background(prediction, options)
    if background is not None:
        keep &= ~background
    if options.edge_threshold is not None:
        for view, depth in enumerate(prediction.depth):
            keep[view] &= ~flying_pixels(depth, options.edge_threshold)
    if prediction.conf is not None:
        candidate = np.isfinite(prediction.conf) & (prediction.conf > 0)  # 0 is where a crop left nothing (`da3jax.to_native`)
        if options.filter_sky and prediction.sky is not None:
            candidate &= ~prediction.sky.astype(bool)
        confidence = prediction.conf if background is None else np.where(background, _LEAST_CONFIDENCE, prediction.conf)
        if candidate.any():
            low, high = np.percentile(confidence[candidate], (options.conf_thresh_percentile, 90), overwrite_input=True)
            keep &= candidate & (prediction.conf >= min(max(1.05, low), high))
        else:
            keep[:] = False
    return keep


def flying_pixels(depth: np.ndarray, threshold: float) -> np.ndarray:
    """Pixels that hang in the air between a near surface and a far one, where a network draws a slope in place of a step.

    Along one of the four lines through a pixel (across, down, both diagonals), one neighbour is nearer and the other farther, each by
    more than `threshold` as a difference of logarithms, so about as a share of the depth. The two sides of a clean step stay, and so
    does what is one pixel thin.

    Of balls above a floor before a wall, 504 × 378 pixels, blurred with a Gaussian of 0.7 to 1.5 pixels, 0.05 finds 95 to 99 % of the
    pixels that are over 5 % off and takes 0.1 to 0.6 % of the others, ground seen at a flat angle among them; 0.1 finds 67 to 76 %.
    That is at the size the network works at: enlarged, the same slope is flatter.

    Args:
        depth: (H, W); what is not finite and positive is nobody's neighbour.
        threshold: positive.

    Returns:
        (H, W) bool.
    """
    valid = np.isfinite(depth) & (depth > 0)
    padded = np.pad(np.log(depth, where=valid, out=np.full(depth.shape, np.nan)), 1, constant_values=np.nan)
    height, width = depth.shape
    inner = padded[1:-1, 1:-1]
    flying = np.zeros(depth.shape, bool)
    for down, right in ((0, 1), (1, 0), (1, 1), (1, -1)):
        after = padded[1 + down :, 1 + right :][:height, :width] - inner
        before = inner - padded[1 - down :, 1 - right :][:height, :width]
        flying |= (np.minimum(after, before) > threshold) | (np.maximum(after, before) < -threshold)
    return flying


def _background(prediction: Prediction, options: ExportOptions) -> np.ndarray | None:
    """(N, H, W) bool; None where no background is to be left out."""
    if not (options.filter_black_bg or options.filter_white_bg):
        return None
    if prediction.processed_images is None:
        raise ValueError("filter_black_bg and filter_white_bg need processed_images, and the prediction has none; leave the filters out")
    background = np.zeros(prediction.depth.shape, bool)
    if options.filter_black_bg:
        background |= (prediction.processed_images < _BLACK).all(axis=-1)
    if options.filter_white_bg:
        background |= (prediction.processed_images >= _WHITE).all(axis=-1)
    return background
