"""What `DepthAnything3.inference` computes on the device: the network, then cameras, metres, the caller's world and points."""

from __future__ import annotations

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from da3jax.config import Config, NestedConfig
from da3jax.geometry import (
    Alignment,
    Similarity,
    Solution,
    align_poses,
    cameras_from_rays,
    compose_rigid,
    invert_rigid,
    normalize_poses,
    points_from_rays,
    unproject,
)
from da3jax.models import forward
from da3jax.models.metric import MetricScale, in_metres, scaled_to_metric
from da3jax.types import NetworkOutput, Params

ALIGNMENT_TRIES = 256
"""Samples of half the views, of which one has to be free of wrong cameras. The official ten miss it with two wrong ones in twelve."""


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
        """From float64 arrays of one scene, (1, S, ...)."""
        relative = None
        if extrinsics is not None:
            rotation, translation = extrinsics[..., :3], extrinsics[..., 3:]
            first = np.flatnonzero(np.isfinite(extrinsics[0, :, 0, 0]))[0]
            turn = rotation @ rotation[:, first, None].swapaxes(-1, -2)
            shift = translation - turn @ translation[:, first, None]
            # Cameras that only turn differ in place by the rounding of their numbers, which is no baseline.
            rounding = 2e-6 if np.array_equal(extrinsics, extrinsics.astype(np.float32), equal_nan=True) else 1e-7
            apart = np.linalg.norm(shift, axis=-2, keepdims=True) > rounding * np.nanmax(np.abs(translation))
            relative = np.concatenate([turn, np.where(apart | np.isnan(shift), shift, 0)], axis=-1)
        return cls(*(None if x is None else np.asarray(x, np.float32) for x in (extrinsics, relative, intrinsics)))


class Result(NamedTuple):
    """What one program gives, over (B, S); `scale` and `alignment` over (B,)."""

    network: NetworkOutput
    solution: Solution | None = None
    scale: MetricScale | None = None
    alignment: Alignment | None = None
    points: jax.Array | None = None


def run(params: Params, images: jax.Array, known: KnownCameras, *, task: Task, config: Config, dtype: str | None) -> Result:
    """All of it, for images (B, S, H, W, 3)."""
    height, width = images.shape[2:4]
    output = _network(params, images, known, task, config, dtype)

    solution = None
    if task.use_ray_pose:
        solution = cameras_from_rays(output.ray, output.ray_conf)
        output = dataclasses.replace(output, extrinsics=solution.extrinsics, intrinsics=solution.intrinsics(height, width))
    if known.intrinsics is not None:
        output = dataclasses.replace(output, intrinsics=_filled(known.intrinsics, output.intrinsics))

    scale = None
    if isinstance(config, NestedConfig):
        output, scale = scaled_to_metric(output, config.metric.canonical_focal)
    elif task.in_metres:
        output = dataclasses.replace(output, depth=in_metres(output.depth, output.intrinsics, config.canonical_focal))

    alignment = None
    if known.extrinsics is not None:
        output, alignment = _aligned(output, known, task.align_to_input_ext_scale)

    if task.independent:
        output = dataclasses.replace(output, extrinsics=None)
    points = None
    if "points" in task.outputs:
        by_rays = output.ray is not None and known.extrinsics is None and known.intrinsics is None
        points = points_from_rays(output.depth, output.ray) if by_rays else unproject(output.depth, output.intrinsics, output.extrinsics)
    return Result(output, solution, scale, alignment, points)


def _network(params: Params, images: jax.Array, known: KnownCameras, task: Task, config: Config, dtype: str | None) -> NetworkOutput:
    common = {"config": config, "dtype": dtype, "ref_view_strategy": task.ref_view_strategy}
    cameras = {}
    if task.conditioned:
        intrinsics = known.intrinsics
        if task.first_pass:
            intrinsics = _filled(intrinsics, forward(params, images, outputs=("cameras",), **common).intrinsics)
        cameras = {"extrinsics": normalize_poses(known.relative), "intrinsics": intrinsics}
    names = tuple(name for name in task.outputs if name != "points")
    return forward(params, images, outputs=names, export_feat_layers=task.export_feat_layers, **cameras, **common)


def _filled(known: jax.Array | None, predicted: jax.Array | None) -> jax.Array:
    """What is known (..., 3, k), and what was predicted where it is NaN."""
    if known is None or predicted is None:
        return predicted if known is None else known
    return jnp.where(jnp.isfinite(known[..., :1, :1]), known, predicted)


def _aligned(output: NetworkOutput, known: KnownCameras, to_input: bool) -> tuple[NetworkOutput, Alignment]:
    """The output in the world of the known cameras, or with them in the network's own.

    As officially the similarity is fitted from the known centres to the predicted ones, not the other way round: the errors are the
    network's, and least squares shrinks what it fits from noise.
    """
    mask = jnp.isfinite(known.relative[..., 0, 0])
    found = align_poses(known.relative, output.extrinsics, mask, tries=ALIGNMENT_TRIES)
    back = found.similarity.inverse()
    first = jnp.argmax(mask, axis=-1)[..., None, None, None]
    origin = jnp.take_along_axis(known.extrinsics, first, axis=1)[:, 0]  # (B, 3, 4), world to the frame of `relative`
    pose = invert_rigid(origin)
    to_world = Similarity(jnp.ones_like(back.scale), pose[..., :3], pose[..., 3])
    alignment = dataclasses.replace(found, similarity=to_world.compose(back), residual=found.residual * back.scale)
    if not to_input:
        moved = found.similarity.apply_to_cameras(known.relative)
        return dataclasses.replace(
            output, extrinsics=_filled(jnp.where(mask[..., None, None], moved, jnp.nan), output.extrinsics)
        ), alignment
    predicted = compose_rigid(back.apply_to_cameras(output.extrinsics), jnp.broadcast_to(origin[:, None], output.extrinsics.shape))
    ray = output.ray
    if ray is not None:
        turned = Similarity(jnp.ones_like(back.scale), alignment.similarity.rotation, jnp.zeros_like(back.translation))
        ray = jnp.concatenate([turned.apply(ray[..., :3]), alignment.similarity.apply(ray[..., 3:])], axis=-1)
    depth = output.depth * back.scale[:, None, None, None]
    return dataclasses.replace(output, depth=depth, ray=ray, extrinsics=_filled(known.extrinsics, predicted)), alignment
