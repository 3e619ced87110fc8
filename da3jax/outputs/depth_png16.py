"""Depth as 16-bit grey images, with what a step is worth."""

from __future__ import annotations

import json
import logging
import pathlib

import numpy as np

from da3jax.outputs.atomic import write_together
from da3jax.outputs.cameras import view_sizes
from da3jax.outputs.cleanup import valid_depth
from da3jax.outputs.image_file import encode_png
from da3jax.outputs.options import ExportOptions
from da3jax.types import Prediction

logger = logging.getLogger(__name__)

_MILLIMETRE = 0.001
_MOST = 65535


def write_depth_png16(prediction: Prediction, export_dir: pathlib.Path, options: ExportOptions) -> list[pathlib.Path]:
    """Writes `depth_png16/0000.png` and so on, one a view and as large as it, and `depth_png16/scale.json`.

    Depth along z is value · scale, to half a step. The scale is `png16_scale`; else 0.001 where depth is in metres, so that values are
    millimetres, as readers of 16-bit depth and our training data expect; else the largest depth of all views is 65535. It is in
    `scale.json` (`scale`, `unit`, `no_depth`, `views`) and, as text, in each image (`depth_scale`, `depth_unit`), all digits of it.

    0 is no depth: sky, what is not finite and positive, below half a step, or above 65535 steps (65.535 m in millimetres), for a
    depth that is cut off would be a wrong one. How many are too far is said in a warning.

    Raises:
        OSError: a file cannot be written.
    """
    from PIL.PngImagePlugin import PngInfo

    valid = valid_depth(prediction, options)
    scale = _scale(prediction, valid, options)
    unit = "metre" if prediction.is_metric else "relative"
    text = PngInfo()
    text.add_text("depth_scale", repr(scale))
    text.add_text("depth_unit", unit)
    folder, files, too_far = export_dir / "depth_png16", {}, 0
    for view, (height, width) in enumerate(view_sizes(prediction)):
        depth, known = (x[view, :height, :width] for x in (prediction.depth, valid))
        steps = np.rint(np.where(known, depth, 0).astype(np.float64) / scale)
        too_far += np.count_nonzero(steps > _MOST)
        steps[steps > _MOST] = 0
        files[folder / f"{view:04d}.png"] = encode_png(steps.astype(np.uint16), pnginfo=text)
    if too_far:
        said = "depth_png16: %d pixels are beyond %.6g, the most in steps of %.6g, and are written as 0; a larger png16_scale holds them"
        logger.warning(said, too_far, _MOST * scale, scale)
    content = {"scale": scale, "unit": unit, "no_depth": 0, "views": len(valid)}
    files[folder / "scale.json"] = (json.dumps(content, indent=2) + "\n").encode()
    write_together(files)  # an interrupted run must not leave images beside the scale of others
    return [*files]


def _scale(prediction: Prediction, valid: np.ndarray, options: ExportOptions) -> float:
    if options.png16_scale is not None:
        return float(options.png16_scale)
    if prediction.is_metric:
        return _MILLIMETRE
    largest = float(prediction.depth.max(where=valid, initial=0))
    return largest / _MOST if largest > 0 else 1.0
