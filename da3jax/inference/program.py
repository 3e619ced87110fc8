"""What `DepthAnything3.inference` computes on the device: the network, then cameras, metres, the caller's world, points, Gaussians."""

from __future__ import annotations

import dataclasses
import logging
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from da3jax.config import Config, NestedConfig
from da3jax.geometry import (
    Alignment,
    Similarity,
    Solution,
    align_poses,
    cameras_from_rays,
    invert_rigid,
    normalize_poses,
    points_from_rays,
    relative_rounding,
    unproject,
)
from da3jax.inference.gaussians import official_gaussians, world_gaussians
from da3jax.models import forward
from da3jax.models.metric import MetricScale, in_metres, in_world, scaled_to_metric
from da3jax.types import Gaussians, NetworkOutput, Params

ALIGNMENT_TRIES = 256
"""Samples of half the views, of which one has to be free of wrong cameras. The official ten miss it with two wrong ones in twelve."""


LEAST_BASELINE = 1e-6
"""Of known cameras, in their units: what is less is rounding, for cameras that turn about the world's origin too."""

logger = logging.getLogger(__name__)


@dataclasses.dataclass(frozen=True)
class Task:
    """What is to be computed: what a program is compiled for, besides shapes."""

    outputs: tuple[str, ...]
    use_ray_pose: bool = False
    ref_view_strategy: str = "saddle_balanced"
    export_feat_layers: tuple[int, ...] = ()
    independent: bool = False
    """Whether each scene is one view that stands for itself: its camera then is nowhere but in its own origin."""
    conditioned: bool = False
    """Whether the network sees the known extrinsics; they are known for all views then."""
    first_pass: bool = False
    """Whether a pass without them gives the intrinsics that are not known."""
    in_metres: bool = False
    """Whether intrinsics bring a metric network's own depth to metres."""
    align_to_input_ext_scale: bool = True
    infer_gs: bool = False
    """Whether Gaussians are computed; `outputs` has `raw_gs` then."""
    official_gs: bool = False
    """Whether they are the official code's."""
    to_host: bool = False
    """Whether what nothing on the device looks at again leaves it view by view."""


class KnownCameras(NamedTuple):
    """The caller's cameras over (B, S), NaN where a view has none; float32. Each is None where no view has one."""

    extrinsics: np.ndarray | None = None
    """(B, S, 3, 4) world-to-camera."""
    relative: np.ndarray | None = None
    """(B, S, 3, 4) the same in the frame of the scene's first known camera: exact however far away the world's origin is."""
    intrinsics: np.ndarray | None = None
    """(B, S, 3, 3) pixels."""

    @classmethod
    def of(cls, extrinsics: np.ndarray | None, intrinsics: np.ndarray | None) -> KnownCameras:
        """From arrays of one scene, (1, S, ...), float64 or, where the caller has them so, float32."""
        relative = None
        if extrinsics is not None:
            rotation, translation = np.split(extrinsics.astype(np.float64), [3], axis=-1)
            first = np.flatnonzero(np.isfinite(extrinsics[0, :, 0, 0]))[0]
            turn = rotation @ rotation[:, first, None].swapaxes(-1, -2)
            shift = translation - turn @ translation[:, first, None]
            # Cameras that only turn differ in place by the rounding of their numbers, which is no baseline.
            far, apart = (np.nanmax(np.abs(x)) for x in (translation, shift))
            if apart <= max(LEAST_BASELINE, relative_rounding(extrinsics) * far):
                shift = 0 * shift  # unknown stays unknown
            elif apart < 1e4 * (rounding := np.finfo(np.float32).eps * far):
                logger.warning(
                    "the known cameras are %.2g apart and so far from their world's origin that float32 holds places there to %.1g: "
                    "depth does not suffer, extrinsics and points do; subtract an origin from the cameras' centres", apart, rounding,
                )  # fmt: skip
            relative = np.concatenate([turn, shift], axis=-1)
        return cls(*(None if x is None else np.asarray(x, np.float32) for x in (extrinsics, relative, intrinsics)))

    @property
    def has_baseline(self) -> bool:
        """Whether known cameras stand in more than one place."""
        return self.relative is not None and bool((np.nan_to_num(self.relative[..., 3]) != 0).any())


class Result(NamedTuple):
    """What one program gives, over (B, S); `scale` and `alignment` over (B,)."""

    network: NetworkOutput
    solution: Solution | None = None
    scale: MetricScale | None = None
    alignment: Alignment | None = None
    points: jax.Array | None = None
    gaussians: Gaussians | None = None

    def first(self, views: int) -> Result:
        """The same without the views after the first `views`; numpy or device arrays."""
        by_view = (self.network, self.solution, self.points, self.gaussians)
        network, solution, points, gaussians = jax.tree.map(lambda x: x[:, :views], by_view)
        alignment = self.alignment and dataclasses.replace(self.alignment, inliers=self.alignment.inliers[:, :views])
        return Result(network, solution, self.scale, alignment, points, gaussians)


def run(
    params: Params,
    images: jax.Array,
    known: KnownCameras,
    view_mask: jax.Array | None,
    *,
    task: Task,
    config: Config,
    dtype: str | None,
    mesh: Mesh | None = None,
) -> Result:
    """All of it, for images (B, S, H, W, 3). Views that `view_mask` (B, S) has False are computed, and change nothing for the others."""
    height, width = images.shape[2:4]
    common = {"config": config, "dtype": dtype, "view_mask": view_mask, "ref_view_strategy": task.ref_view_strategy, "mesh": mesh}
    output = _network(params, images, known, task, common)

    solution, counted = None, view_mask
    if task.use_ray_pose:
        solution = cameras_from_rays(output.ray, output.ray_conf)
        solved = solution.result == 0
        counted = solved if view_mask is None else solved & view_mask
        output = dataclasses.replace(output, extrinsics=solution.extrinsics, intrinsics=solution.intrinsics(height, width))
    gaussians = None
    if task.official_gs:
        seen = normalize_poses(known.relative, view_mask) if task.conditioned else None
        gaussians = official_gaussians(output, seen, view_mask)
    if known.intrinsics is not None:
        output = dataclasses.replace(output, intrinsics=_filled(known.intrinsics, output.intrinsics))

    scale = None
    if isinstance(config, NestedConfig):
        output, scale = scaled_to_metric(output, config.metric.canonical_focal, counted)
    elif task.in_metres:
        output = dataclasses.replace(output, depth=in_metres(output.depth, output.intrinsics, config.canonical_focal))

    alignment = None
    if known.extrinsics is not None:
        output, alignment = _aligned(output, known, counted, task.align_to_input_ext_scale)

    if task.independent:
        output = dataclasses.replace(output, extrinsics=None)
    points = None
    if "points" in task.outputs:
        if _points_by_cameras(task, known):
            points = unproject(output.depth, output.intrinsics, output.extrinsics)
        else:
            points = points_from_rays(output.depth, output.ray)
    if task.infer_gs:
        if gaussians is None:
            in_input = alignment is not None and task.align_to_input_ext_scale
            factors = (*((scale.scale,) if scale is not None else ()), *((alignment.similarity.scale,) if in_input else ()))
            gaussians = world_gaussians(output, math.prod(factors) if factors else None)
        output = dataclasses.replace(output, raw_gs=None, raw_gs_conf=None)
    return Result(output, solution, scale, alignment, points, gaussians)


def _network(params: Params, images: jax.Array, known: KnownCameras, task: Task, common: dict[str, Any]) -> NetworkOutput:
    """The network's part; `common` are options of `forward` for all of its passes."""
    cameras = {}
    if task.conditioned:
        intrinsics = known.intrinsics
        if task.first_pass:
            intrinsics = _filled(intrinsics, forward(params, images, outputs=("cameras",), **common).intrinsics)
        cameras = {"extrinsics": normalize_poses(known.relative, common["view_mask"]), "intrinsics": intrinsics}
    names = tuple(name for name in task.outputs if name != "points")
    on_host = _finished(task, known, common["config"]) if task.to_host else ()
    return forward(params, images, outputs=names, export_feat_layers=task.export_feat_layers, on_host=on_host, **cameras, **common)


def _finished(task: Task, known: KnownCameras, config: Config) -> tuple[str, ...]:
    """Fields of the network's output that are results as they are."""
    if isinstance(config, NestedConfig) or known.extrinsics is not None:  # all of it is scaled, by what confidences say
        return ()
    for_cameras = {"ray", "ray_conf"} if task.use_ray_pose else set()
    for_points = {"ray"} if "points" in task.outputs and not _points_by_cameras(task, known) else set()
    return tuple(name for name in ("depth_conf", "ray", "ray_conf") if name not in for_cameras | for_points)


def _points_by_cameras(task: Task, known: KnownCameras) -> bool:
    """Whether points follow from depth and cameras, and not from depth and rays."""
    any_known = known.extrinsics is not None or known.intrinsics is not None
    has_cameras = task.independent or task.use_ray_pose or "cameras" in task.outputs
    return "ray" not in task.outputs or (any_known and has_cameras)


def _filled(known: jax.Array | None, predicted: jax.Array | None) -> jax.Array:
    """What is known (..., 3, k), and what was predicted where it is NaN."""
    if known is None or predicted is None:
        return predicted if known is None else known
    return jnp.where(jnp.isfinite(known[..., :1, :1]), known, predicted)


def _aligned(output: NetworkOutput, known: KnownCameras, counted: jax.Array | None, to_input: bool) -> tuple[NetworkOutput, Alignment]:
    """The output in the world of the known cameras, or with them in the network's own, by the views that are `counted` (B, S).

    As officially the similarity is fitted from the known centres to the predicted ones, not the other way round: the errors are the
    network's, and least squares shrinks what it fits from noise.
    """
    is_known = jnp.isfinite(known.relative[..., 0, 0])
    mask = is_known if counted is None else is_known & counted
    found = align_poses(known.relative, output.extrinsics, mask, tries=ALIGNMENT_TRIES)
    back = found.similarity.inverse()
    first = jnp.argmax(is_known, axis=-1)[..., None, None, None]
    origin = jnp.take_along_axis(known.extrinsics, first, axis=1)[:, 0]  # (B, 3, 4), world to the frame of `relative`
    pose = invert_rigid(origin)
    to_world = Similarity(jnp.ones_like(back.scale), pose[..., :3], pose[..., 3])
    alignment = dataclasses.replace(found, similarity=to_world.compose(back), residual=found.residual * back.scale)
    if not to_input:
        moved = found.similarity.apply_to_cameras(known.relative)
        extrinsics = jnp.where(is_known[..., None, None], moved, output.extrinsics)
        return dataclasses.replace(output, extrinsics=extrinsics), alignment
    output = in_world(output, alignment.similarity)
    return dataclasses.replace(output, extrinsics=_filled(known.extrinsics, output.extrinsics)), alignment
