"""The sum of the losses that a configuration asks for."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from da3jax.training.losses.attention import attention_loss
from da3jax.training.losses.camera import camera_losses, point_loss, pose_spread, ray_loss
from da3jax.training.losses.confidence import confidence_statistics
from da3jax.training.losses.config import LossConfig, LossWeights
from da3jax.training.losses.correspondence import correspondence_loss
from da3jax.training.losses.depth import depth_loss, gradient_loss, relative_depth_loss, scale_shift_invariant_loss
from da3jax.training.losses.global_local import align_depth, global_local_loss
from da3jax.training.losses.masked import keep
from da3jax.training.losses.masks import mask_loss
from da3jax.training.losses.motion import motion_loss
from da3jax.training.losses.normal import normal_loss
from da3jax.training.losses.normalization import NormalizedTargets, normalize_targets
from da3jax.training.losses.supervision import canonical_depth
from da3jax.training.losses.targets import Targets, check_targets
from da3jax.types import NetworkOutput

_NEEDS = {
    "depth": ("depth",),
    "ray": ("ray",),
    "point": ("depth", "ray"),
    "camera": ("pose_enc",),
    "motion": ("pose_enc", "ray"),
    "gradient": ("depth",),
    "relative_depth": ("depth",),
    "global_local": ("depth",),
    "normal": ("depth",),
    "sky": ("sky",),
    "scale_shift_invariant": ("depth",),
}
"""What each term reads of a network's output; of blocks, `LossConfig.feature_layers` and `attention_layers`."""
_OUTPUTS = {"depth": "depth", "ray": "ray", "pose_enc": "cameras", "sky": "sky"}
"""What `da3jax.forward` calls the output that a field comes with."""


def outputs_of(weights: LossWeights) -> tuple[str, ...]:
    """The names that `da3jax.forward` takes as `outputs` to give what the losses with a positive weight read."""
    return tuple(dict.fromkeys(name for term, weight in dataclasses.asdict(weights).items() if weight for name in outputs_of_term(term)))


def outputs_of_term(term: str) -> tuple[str, ...]:
    """Likewise, what the loss of that weight's name reads."""
    return tuple(_OUTPUTS[field] for field in _NEEDS.get(term, ()))


def total_loss(
    output: NetworkOutput, targets: Targets, config: LossConfig, *, objects: jax.Array | None = None
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The weighted sum () of the losses, and what to log, each () and without a gradient: the terms, unweighted, by the names of their
    weights; `camera_translation`, `_quaternion`, `_fov`, and `_spread` of `pose_spread`; `depth_conf_mean`, `_max` and `_clamped`, and
    `ray_conf_` likewise; `valid_share`, the share of pixels whose depth counts; `total`.

    The output is that of a network whose reference view is the first (`ref_view_strategy="first"`). `objects` (B, S, H, W) is a predicted
    object mask. Pixels and cameras that are not known add nothing, whatever they hold; without any the sum is 0 with gradients of 0. Sums
    run over the batch as it is, so scenes with more valid pixels count more. Source: Depth Anything 3, sections 3.3, 4.1 and 4.4.

    Raises:
        ValueError: a term needs what the network or the targets do not have, or shapes do not fit.
    """
    weights = {name: weight for name, weight in dataclasses.asdict(config.weights).items() if weight}
    check_targets(targets)
    truth = _truth(targets, config)
    _check(output, targets, truth, config, weights, objects)
    depth, alignment = output.depth, None
    if config.units == "relative":
        alignment = align_depth(depth, truth.depth, truth.mask, samples=config.align_samples)
        scale, shift = (x[..., None, None] for x in alignment)
        depth = scale * depth + shift
        truth = dataclasses.replace(truth, mask=truth.mask & (scale > 0), point_mask=truth.point_mask & (scale > 0))
    scaled = {"reward": config.confidence_reward, "max_confidence": config.max_confidence}
    logged = {"valid_share": jnp.mean(truth.mask, dtype=truth.depth.dtype)}

    def camera() -> jax.Array:
        parts = camera_losses(output.pose_enc, truth.pose_enc, truth.camera_mask)
        logged.update({f"camera_{name}": part for name, part in parts.items()})
        logged["camera_spread"] = pose_spread(output.pose_enc, truth.pose_enc, truth.camera_mask)
        return sum(getattr(config, f"camera_{name}") * part for name, part in parts.items())

    def attention() -> jax.Array:
        looks = (output.queries_keys[block] for block in config.attention_blocks)
        return sum(attention_loss(*look, truth, heads=config.attention_heads) for look in looks) / len(config.attention_blocks)

    pixels = jnp.broadcast_to(truth.camera_mask[..., None, None], truth.ray.shape[:-1])
    terms = {
        "depth": lambda: depth_loss(depth, truth.depth, truth.mask, output.depth_conf, **scaled),
        "ray": lambda: ray_loss(output.ray, truth.ray, pixels, output.ray_conf if config.ray_confidence else None, **scaled),
        "point": lambda: point_loss(
            depth, output.ray, truth.points, truth.point_mask, output.depth_conf if config.point_confidence else None, **scaled
        ),
        "camera": camera,
        "motion": lambda: motion_loss(output.pose_enc, output.ray, truth.pose_enc, truth.camera_mask),
        "gradient": lambda: gradient_loss(depth, truth.depth, truth.mask, scales=config.gradient_scales),
        "relative_depth": lambda: relative_depth_loss(depth, truth.depth, truth.mask),
        "global_local": lambda: global_local_loss(
            output.depth,
            truth.depth,
            truth.point_mask,
            truth.intrinsics,
            levels=config.local_levels,
            samples=config.align_samples,
            least_pixels=config.least_local_pixels,
            alignment=alignment,
        ),
        "normal": lambda: normal_loss(depth, truth.depth, truth.point_mask, truth.intrinsics, targets.normals),
        "sky": lambda: mask_loss(output.sky, targets.sky),
        "objects": lambda: mask_loss(objects, targets.objects),
        "scale_shift_invariant": lambda: scale_shift_invariant_loss(output.depth, truth.depth, truth.mask),
        "correspondence": lambda: correspondence_loss(
            output.features[config.correspondence_block], truth, temperature=config.correspondence_temperature
        ),
        "attention": attention,
    }
    values = {name: terms[name]() for name in weights}
    total = sum(weight * values[name] for name, weight in weights.items())

    for name, confidence, counts in (("depth_conf", output.depth_conf, truth.mask), ("ray_conf", output.ray_conf, pixels)):
        if confidence is not None:
            statistics = confidence_statistics(confidence, counts, config.max_confidence)
            logged.update({f"{name}_{key}": value for key, value in statistics.items()})
    return total, jax.lax.stop_gradient({**values, **logged, "total": total})


def _truth(targets: Targets, config: LossConfig) -> NormalizedTargets:
    """The targets in the units of the configuration."""
    valid = targets.valid()
    truth = normalize_targets(targets.depth, targets.extrinsics, targets.intrinsics, valid)
    if config.units != "canonical":
        return truth
    depth = canonical_depth(targets.depth, targets.intrinsics, config.canonical_focal)
    mask = valid & jnp.isfinite(depth) & (depth > 0)
    (depth,) = keep(mask, depth)
    return dataclasses.replace(truth, depth=depth, mask=mask, point_mask=mask & truth.point_mask)


def _check(
    output: NetworkOutput,
    targets: Targets,
    truth: NormalizedTargets,
    config: LossConfig,
    weights: dict[str, float],
    objects: jax.Array | None,
) -> None:
    """Raises a ValueError for a term that lacks what it needs, and for predictions of another shape than what they are compared with."""
    for term, weight in weights.items():
        for name in _NEEDS.get(term, ()):
            if getattr(output, name) is None:
                raise ValueError(
                    f"weights.{term} is {weight}, and the network gives no {name}; set it to 0, or ask forward for that output"
                )
        if term in ("sky", "objects") and getattr(targets, term) is None:
            raise ValueError(f"weights.{term} is {weight}, and targets.{term} is None; set it to 0, or give the mask (NaN where unknown)")
        if term == "objects" and objects is None:
            raise ValueError(f"weights.objects is {weight}, and no predicted object mask is given; set it to 0, or pass objects")
    for term, read, given, option in (
        ("correspondence", config.feature_layers, output.features, "export_feat_layers"),
        ("attention", config.attention_layers, output.queries_keys, "attention_layers"),
    ):
        if missing := [block for block in read if block not in (given or {})]:
            raise ValueError(
                f"weights.{term} is {weights[term]}, and the output lacks blocks {missing}; ask forward for {option}={list(read)}"
            )
    wanted = {
        **dict.fromkeys(("depth", "depth_conf", "sky"), truth.depth.shape),
        "ray": truth.ray.shape,
        "ray_conf": truth.ray.shape[:-1],
        "pose_enc": truth.pose_enc.shape,
    }
    for name, array, shape in [
        *((f"output.{name}", getattr(output, name), s) for name, s in wanted.items()),
        ("objects", objects, truth.depth.shape),
    ]:
        if array is not None and array.shape != shape:
            raise ValueError(f"{name} has shape {array.shape}; for these targets it is {shape}")
