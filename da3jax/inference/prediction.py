"""What came from the device, as a `Prediction`; what it leaves open is said."""

from __future__ import annotations

import logging
from operator import itemgetter

import jax
import numpy as np

from da3jax.config import Config
from da3jax.inference.program import KnownCameras, Result, Task
from da3jax.types import Prediction, Views

logger = logging.getLogger(__name__)

SKY_MASK_THRESHOLD = 0.5
"""From here on `Prediction.sky` is true, as in the official result."""


def to_prediction(result: Result, views: Views, known: KnownCameras, task: Task, config: Config) -> Prediction:
    """Results over (B, S) to a prediction over N = B · S views: of one scene, or of N scenes where they are independent.

    Numpy stays numpy: on the device each of these small steps would be compiled.
    """
    by_view = (result.network, result.solution, result.points, result.gaussians)
    output, solution, points, gaussians = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), by_view)
    if task.use_ray_pose and (degenerate := np.flatnonzero(solution.result).tolist()):
        logger.warning("the rays of views %s determine no camera; where none is known, theirs is the identity", degenerate)
    aux = {f"feat_layer_{layer}": features for layer, features in (output.features or {}).items()}
    if output.metric_depth is not None:
        aux["metric_depth"] = output.metric_depth
    alignment = jax.tree.map(itemgetter((0, ...)), result.alignment)
    if alignment is not None and not alignment.scale_determined:
        logger.warning("one known camera, or several in one place, known or predicted, determine no scale: depth keeps the network's")
    if alignment is not None and not alignment.rotation_determined:
        logger.warning("the known cameras contradict the predicted ones so much that the turn between their worlds is not determined")
    is_metric, factor, residual = task.in_metres, None, None
    overruled = task.align_to_input_ext_scale and known.has_baseline
    if task.in_metres:
        factor = (output.intrinsics[:, 0, 0] + output.intrinsics[:, 1, 1]) / 2 / config.canonical_focal
    if result.scale is not None:
        undetermined = np.flatnonzero(~np.asarray(result.scale.determined)).tolist()
        if undetermined:
            where = f"images {undetermined} show" if task.independent else "the scene shows"
            logger.warning("%s hardly anything but sky, which determines no scale: the result is not in metres", where)
        is_metric = not undetermined and not overruled
        factor, residual = (x if task.independent else x[0, ...] for x in (result.scale.scale, result.scale.residual))
    return Prediction(
        depth=output.depth,
        conf=output.depth_conf,
        extrinsics=output.extrinsics,
        intrinsics=output.intrinsics,
        ray=output.ray,
        ray_conf=output.ray_conf,
        ray_residual=None if solution is None else solution.residual,
        points=points,
        sky=None if output.sky is None else output.sky >= SKY_MASK_THRESHOLD,
        processed_images=views.processed_images,
        from_image=views.from_image,
        image_sizes=views.image_sizes,
        gaussians=gaussians,
        is_metric=is_metric,
        scale_factor=factor,
        scale_residual=residual,
        conditioned=("extrinsics",) * task.conditioned + ("intrinsics",) * (task.conditioned and not task.first_pass),
        alignment=alignment,
        aux=aux,
    )
