"""Which pixels of a prediction are worth a point."""

from __future__ import annotations

import numpy as np

from da3jax.outputs.options import ExportOptions
from da3jax.types import Prediction


def kept_pixels(prediction: Prediction, options: ExportOptions) -> np.ndarray:
    """The pixels worth a point.

    Without sky, without depths that are not finite and positive, and without confidences below min(max(1.05, p), p90), where p is
    `conf_thresh_percentile`; both percentiles are over pixels that are not sky.

    Returns:
        (N, H, W) bool.
    """
    keep = np.isfinite(prediction.depth) & (prediction.depth > 0)
    candidate = np.ones_like(keep) if prediction.sky is None else ~prediction.sky.astype(bool)
    keep &= candidate
    if prediction.conf is not None:
        candidate &= np.isfinite(prediction.conf)
        if candidate.any():
            low, high = np.percentile(prediction.conf[candidate], (options.conf_thresh_percentile, 90))
            keep &= candidate & (prediction.conf >= min(max(1.05, low), high))
        else:
            keep[:] = False
    return keep
