"""What a call of `inference` asks for, as a `Task`; what cannot be done is refused before anything runs."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence

import numpy as np
from jax.sharding import Mesh

from da3jax.config import PATCH_SIZE, PRESETS, REF_VIEW_STRATEGIES, Config, NestedConfig
from da3jax.inference.program import Task
from da3jax.models.arguments import check_feature_layers
from da3jax.ops.target import target_platform
from da3jax.schema import blocks_of, is_integer, one_of
from da3jax.types import Views

logger = logging.getLogger(__name__)


def check_views(views: int) -> None:
    """Raises a ValueError for what is no number of views."""
    if not is_integer(views) or views < 1:
        raise ValueError(f"views is {views!r}; it is a whole number, at least 1")


def check_size(height: int, width: int) -> None:
    """Raises a ValueError for a size that no processed image has."""
    for name, side in (("height", height), ("width", width)):
        if not is_integer(side):
            raise ValueError(f"{name} is {side!r}; it is a whole number of pixels, a multiple of {PATCH_SIZE}")
        if side < PATCH_SIZE or side % PATCH_SIZE:
            near = max(PATCH_SIZE, round(side / PATCH_SIZE) * PATCH_SIZE)
            raise ValueError(f"{name} is {side}; processed images have multiples of {PATCH_SIZE}, for example {near}")


def check_options(
    config: Config,
    *,
    extrinsics: bool,
    use_ray_pose: bool,
    ref_view_strategy: str,
    export_feat_layers: Sequence[int] | None,
    independent: bool,
    infer_gs: bool,
    official_gs: bool,
) -> tuple[int, ...]:
    """The blocks of `export_feat_layers`; all is looked at that can be before images are read, `extrinsics` being whether any are known.

    Raises:
        ValueError: options that this network does not have, or that contradict each other.
    """
    if official_gs and not infer_gs:
        raise ValueError("official_gs says which Gaussians are computed, and none are; it goes with infer_gs=True")
    if infer_gs and "raw_gs" not in config.outputs:
        able = " and ".join(name for name, preset in PRESETS.items() if "raw_gs" in preset.outputs)
        raise ValueError(f"infer_gs needs a network that predicts Gaussians, and {config.name} has no head for them; {able} have one")
    if use_ray_pose and "ray" not in config.outputs:
        has = ", ".join(name for name in config.outputs if name not in ("taps", "raw_gs"))
        raise ValueError(f"use_ray_pose needs rays, which {config.name} does not predict; it has {has}")
    if extrinsics and "cameras" not in config.outputs and not use_ray_pose:
        raise ValueError(
            f"{config.name} predicts no cameras that extrinsics could be compared with; it takes intrinsics alone (on the command line, "
            f"--independent uses no others)"
        )
    if extrinsics and independent:
        raise ValueError("extrinsics place the views in one world, which independent images do not share; leave one of the two out")
    one_of("ref_view_strategy", ref_view_strategy, REF_VIEW_STRATEGIES)
    layers = blocks_of("export_feat_layers", () if export_feat_layers is None else export_feat_layers)
    check_feature_layers(config.anyview if isinstance(config, NestedConfig) else config, layers)
    return layers


def planned(
    config: Config,
    views: Views,
    *,
    outputs: Sequence[str] | None = None,
    use_ray_pose: bool = False,
    ref_view_strategy: str = REF_VIEW_STRATEGIES[0],
    export_feat_layers: Sequence[int] | None = None,
    independent: bool = False,
    align_to_input_ext_scale: bool = True,
    infer_gs: bool = False,
    official_gs: bool = False,
    as_numpy: bool = True,
    mesh: Mesh | None = None,
) -> tuple[Views, Task]:
    """The views with those known cameras that are of use, and what is to be computed of them.

    Raises:
        ValueError: as `check_options`, or outputs that this network does not have.
    """
    asked = {
        "use_ray_pose": use_ray_pose,
        "ref_view_strategy": ref_view_strategy,
        "independent": independent,
        "infer_gs": infer_gs,
        "official_gs": official_gs,
    }
    layers = check_options(config, extrinsics=views.extrinsics is not None, export_feat_layers=export_feat_layers, **asked)
    views = _usable(config, views, use_ray_pose)
    return views, Task(
        outputs=_outputs(config, outputs, views, use_ray_pose, infer_gs),
        export_feat_layers=layers,
        align_to_input_ext_scale=align_to_input_ext_scale,
        to_host=as_numpy and mesh is None and target_platform() != "cpu",
        **asked,
        **_use_of_cameras(config, views),
    )


def _usable(config: Config, views: Views, use_ray_pose: bool) -> Views:
    """The views without intrinsics that this network has no use for."""
    has_cameras = "cameras" in config.outputs or use_ray_pose
    if has_cameras or (views.intrinsics is None and config.canonical_focal is None):
        return views
    known = np.full(views.images.shape[1], False) if views.intrinsics is None else np.isfinite(views.intrinsics[0, :, 0, 0])
    if known.all():
        return views
    unknown = np.flatnonzero(~known).tolist()
    logger.warning("views %s have no known focal length; without it the depth of none is brought to metres or to points", unknown)
    return dataclasses.replace(views, intrinsics=None)


def _use_of_cameras(config: Config, views: Views) -> dict[str, bool]:
    """The fields of a `Task` that follow from what is known."""
    anyview = config.anyview if isinstance(config, NestedConfig) else config
    takes_cameras = anyview.camera is not None and anyview.backbone.alt_start != -1
    extrinsics, intrinsics = (0 if x is None else np.isfinite(x[0, :, 0, 0]).sum() for x in (views.extrinsics, views.intrinsics))
    count = views.images.shape[1]
    conditioned = takes_cameras and bool(extrinsics == count)
    if 0 < extrinsics < count:
        logger.info(
            "extrinsics of %d of %d views: the network is not conditioned on them, the result is aligned to them", extrinsics, count
        )
    if intrinsics and not extrinsics and takes_cameras:
        logger.info("intrinsics without extrinsics do not condition the network; they replace its own in the result")
    if conditioned and intrinsics < count:
        logger.info("intrinsics of %d of %d views: a first pass of the network gives the others", intrinsics, count)
    return {
        "conditioned": conditioned,
        "first_pass": conditioned and bool(intrinsics < count),
        "in_metres": anyview is config and anyview.canonical_focal is not None and bool(intrinsics),
    }


def _outputs(config: Config, outputs: Sequence[str] | None, views: Views, use_ray_pose: bool, infer_gs: bool) -> tuple[str, ...]:
    known = [name for name in config.outputs if name not in ("taps", "raw_gs")]
    intrinsics_known = views.intrinsics is not None and np.isfinite(views.intrinsics).all()
    possible = [*known, "points"] if {"ray", "cameras"} & set(known) or intrinsics_known else known
    if outputs is not None and not np.iterable(outputs):
        raise ValueError(f"outputs is {outputs!r}; it is a list of names, such as ['depth']")
    names = (outputs,) if isinstance(outputs, str) else tuple(possible if outputs is None else outputs)
    for name in names:
        one_of(f"output of {config.name}", name, possible)
    if "points" in names and not ({"ray", "cameras"} & set(names) or use_ray_pose or intrinsics_known):
        raise ValueError(f"outputs {list(names)} lacks 'ray' or 'cameras', which points are made of")
    if "depth" not in names:
        raise ValueError(f"outputs {list(names)} lacks 'depth', which every prediction has; da3jax.forward computes the others alone")
    if isinstance(config, NestedConfig):  # without these depth is not in metres
        names = (*names, "cameras", "sky", "metric_depth")
    if views.extrinsics is not None or views.intrinsics is not None:
        names = (*names, "cameras")
    if infer_gs:
        names = (*names, "cameras", "raw_gs")
    if use_ray_pose:
        names = (*(name for name in names if name != "cameras"), "ray")
    return tuple(name for name in (*known, "raw_gs", "points") if name in names)  # one program whatever the order
