"""`da3jax auto` without INPUT: a scene whose truth is known, and how far from it the network is."""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING

import numpy as np
from rich.table import Table

from da3jax.cli.options import RunOptions
from da3jax.cli.run import check_export, infer, join, load_for, show, tell, write

if TYPE_CHECKING:
    from da3jax import Prediction
    from da3jax.training.scenes.render import RenderedViews

VIEWS = 4


def run_on_a_rendered_scene(options: RunOptions) -> None:
    """Renders views of a scene, runs the network on them, writes the exports, prints their paths and, on stderr, the errors.

    Raises:
        ValueError, OSError: as `run`.
    """
    import jax

    from da3jax.parallel.processes import all_or_none
    from da3jax.training.scenes import host_device, sample_views

    if options.aruco_size is not None:
        raise ValueError("--aruco-size goes with photographs of printed markers, and the rendered scene has none; name an INPUT")
    progress = join(options)
    all_or_none(lambda: check_export(options))
    model = load_for(progress, options, VIEWS)
    shorter = options.resolution["process_res_method"].startswith("lower")
    height, width = picture_size(options.resolution["process_res"] or model.config.process_res, shorter=shorter)
    with progress.step(f"render {VIEWS} views of {width} × {height}"), jax.default_device(host_device()):
        draw = jax.jit(sample_views, static_argnames=("views", "height", "width"))
        truth = jax.device_get(draw(jax.random.key(0), views=VIEWS, height=height, width=width))
    images = np.round(truth.images * 255).astype(np.uint8)
    options = dataclasses.replace(options, process_res=height if shorter else width, max_side=None)
    prediction = infer(progress, model, images, options, also=("ray",))

    def finish() -> None:
        written = write(progress, prediction, images, options)
        found = errors(prediction, truth, decoded=not options.use_ray_pose, independent=options.independent)
        tell(progress, prediction, written, options, errors=found)
        progress.print(as_table(found, scales="one scale a view" if options.independent else "one scale"))
        show(prediction, options)

    all_or_none(lambda: jax.process_index() > 0 or finish())


def picture_size(side: int, *, shorter: bool) -> tuple[int, int]:
    """Height and width in whole patches, about 3 to 4, of which `side` is the longer or the shorter."""
    from da3jax.config import PATCH_SIZE

    height, width = (max(int(side * share) // PATCH_SIZE, 1) * PATCH_SIZE for share in ((1, 4 / 3) if shorter else (3 / 4, 1)))
    return height, width


def errors(prediction: Prediction, truth: RenderedViews, *, decoded: bool, independent: bool) -> dict[str, dict[str, float]]:
    """How far from the truth depth is and, where there are any, cameras: those of the rays and, if they were `decoded`, of the head.

    Depth after one scale, or with `independent` the mean over views, each after one of its own.
    """
    from da3jax.evaluation.metrics import depth_metrics, pose_auc, pose_errors
    from da3jax.geometry import cameras_from_rays

    views = [slice(i, i + 1) for i in range(len(truth.depth))] if independent else [slice(None)]
    depths = [depth_metrics(prediction.depth[part], truth.depth[part], ~truth.sky[part]) for part in views]
    found = {"depth": {name: float(np.mean([depth[name] for depth in depths])) for name in ("abs_rel", "delta1")}}
    cameras = {}
    if decoded and prediction.extrinsics is not None:
        cameras["cameras by the head"] = prediction.extrinsics
    if prediction.ray is not None and prediction.extrinsics is not None:
        cameras["cameras by the rays"] = cameras_from_rays(prediction.ray, prediction.ray_conf).extrinsics
    for name, extrinsics in cameras.items():
        degrees = pose_errors(extrinsics, truth.extrinsics)
        found[name] = {"auc30": float(pose_auc(degrees)[30]), "median_degrees": float(np.nanmedian(degrees)), "pairs": len(degrees)}
    return found


def as_table(found: dict[str, dict[str, float]], *, scales: str) -> Table:
    """The same to read."""
    table = Table("against the truth", "", box=None, padding=(0, 2, 0, 0))
    depth = found["depth"]
    table.add_row(f"depth, after {scales}", f"AbsRel {depth['abs_rel']:.3f}, δ1 {depth['delta1']:.3f}")
    for name, of in found.items():
        if name != "depth":
            table.add_row(name, f"AUC@30 {of['auc30']:.1f}, median {of['median_degrees']:.1f}° off, over {of['pairs']} pairs of views")
    return table
