"""Which depth a step is taught: ground truth, a teacher aligned to it, or at the canonical focal length; whether poses are given."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from da3jax.config import CANONICAL_FOCAL
from da3jax.geometry import ScaleShiftResult, align_scale_shift
from da3jax.training.losses.config import LossConfig
from da3jax.training.losses.targets import Targets, check_targets


def canonical_depth(depth: jax.Array, intrinsics: jax.Array, canonical_focal: float = CANONICAL_FOCAL) -> jax.Array:
    """What a metric network answers for metres (..., H, W): metres · `canonical_focal` / focal length, the mean of that of both axes.

    Intrinsics (..., 3, 3) are in pixels of the depth map. Source: Depth Anything 3, section 4.4.
    """
    focal = (intrinsics[..., 0, 0] + intrinsics[..., 1, 1]) / 2
    return depth * (canonical_focal / focal)[..., None, None]


def align_teacher(teacher: jax.Array, depth: jax.Array, mask: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
    """A teacher's depth (..., H, W) in the units of the known one, map by map, and the mask (..., H, W) of where it is finite and positive.

    It is fitted where the mask of the known depth is True, by RANSAC least squares, and then known everywhere. Maps that no positive scale
    fits keep the known depth and its mask. Source: Depth Anything 3, section 4.2, eq. 8.
    """
    fit = align_scale_shift(teacher, depth, mask, key)
    aligned = fit.apply(teacher)
    fits = (fit.result == ScaleShiftResult.SUCCESS)[..., None, None]
    return jnp.where(fits, aligned, depth), jnp.where(fits, jnp.isfinite(aligned) & (aligned > 0), mask)


def supervise(
    targets: Targets, teacher: jax.Array, step: jax.Array | int, key: jax.Array, config: LossConfig, *, sky: jax.Array | None = None
) -> Targets:
    """The targets with the depth that this step is taught.

    From step `config.teacher_from` on it is the teacher's (B, S, H, W), aligned to each view's ground truth; a view keeps its ground truth
    with probability `config.ground_truth_probability`. Known sky stays excluded by the targets' own, and where it is not known by what the
    teacher takes for `sky` (B, S, H, W), 0 or 1. Nothing is aligned before that step. Where units are `relative`, views of which nothing is
    known are taught the teacher's depth as it is and, if targets have a sky, its sky.
    Source: Depth Anything 3, sections 3.4 and 4.2 to 4.4.

    Raises:
        ValueError: the teacher's depth or sky has another shape than the targets' depth, or the targets do not fit together.
    """
    check_targets(targets)
    shape = jnp.shape(targets.depth)
    for name, given in (("depth", teacher), ("sky", sky)):
        if given is not None and jnp.shape(given) != shape:
            raise ValueError(f"the teacher's {name} has shape {jnp.shape(given)}; it is that of the targets' depth, {shape}")
    depth, mask = jnp.asarray(targets.depth), jnp.asarray(targets.mask)
    teacher = jnp.asarray(teacher, depth.dtype)
    looks_like_sky = jnp.zeros((), bool) if sky is None else sky >= 0.5
    if targets.sky is not None:
        looks_like_sky &= jnp.isnan(targets.sky)
    unlabelled = ~jnp.any(targets.valid(), axis=(-2, -1), keepdims=True) & (config.units == "relative")
    if targets.sky is not None:
        unlabelled &= jnp.all(jnp.isnan(targets.sky), axis=(-2, -1), keepdims=True)
        if sky is not None:
            taught = jnp.where(unlabelled & (step >= config.teacher_from), sky, targets.sky)
            targets = dataclasses.replace(targets, sky=taught)

    def from_teacher() -> tuple[jax.Array, jax.Array]:
        for_fit, for_draw = jax.random.split(key)
        aligned, known = align_teacher(teacher, depth, targets.valid(), for_fit)
        stays = jax.random.bernoulli(for_draw, float(config.ground_truth_probability), depth.shape[:2])[..., None, None]
        known = jnp.where(unlabelled, jnp.isfinite(teacher) & (teacher > 0), known) & ~looks_like_sky
        stays &= ~unlabelled
        return jnp.where(unlabelled, teacher, jnp.where(stays, depth, aligned)), jnp.where(stays, mask, known)

    depth, mask = jax.lax.cond(step >= config.teacher_from, from_teacher, lambda: (depth, mask))
    return dataclasses.replace(targets, depth=depth, mask=mask)


def draw_pose_conditioning(key: jax.Array, config: LossConfig, shape: tuple[int, ...] = ()) -> jax.Array:
    """Whether the network is given the poses, bool of the shape: True with probability `config.pose_probability`.

    Of shape (B,) it is what `da3jax.forward` takes as `conditioned`. Source: Depth Anything 3, section 3.4.
    """
    return jax.random.bernoulli(key, float(config.pose_probability), shape)
