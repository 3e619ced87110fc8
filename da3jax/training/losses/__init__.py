"""The losses of Depth Anything 3 (arXiv 2511.10647), as functions of arrays for `jit`, `vmap` and `grad`.

Depth is along the camera's z axis, extrinsics are world-to-camera, intrinsics in pixels, all as in `da3jax.geometry`. Every loss is a mean
over the pixels, or cameras, that a mask has True. What the mask leaves out may be NaN: it changes neither value nor gradient. A mask
without a True gives 0 and gradients of 0.

| network | losses | section |
|---|---|---|
| any-view | `depth_loss`, `ray_loss`, `point_loss`, `camera_losses`, `gradient_loss` | 3.3 |
| teacher, mono | `global_local_loss`, `gradient_loss`, `normal_loss`, `mask_loss` of sky and of objects | 4.1, 4.3 |
| metric | `depth_loss` and `gradient_loss` at the canonical focal length, `mask_loss` of sky | 4.4 |
| Gaussians | `scale_shift_invariant_loss` | 5.1 |
| any-view, from nothing | beside its own, `correspondence_loss`, `attention_loss`, `motion_loss`, `relative_depth_loss` | ours |

`total_loss` adds up what a `LossConfig` asks for; `LOSSES` has those of these networks by name. `normalize_targets` brings ground truth
into the units that the network answers in, `supervise` puts aligned teacher depth in its place when its time has come.
"""

from da3jax.training.losses.attention import attention_loss
from da3jax.training.losses.camera import camera_losses, point_loss, ray_loss
from da3jax.training.losses.confidence import confidence_loss, confidence_statistics
from da3jax.training.losses.config import LOSSES, LossConfig, LossWeights
from da3jax.training.losses.correspondence import correspondence_loss
from da3jax.training.losses.depth import depth_loss, gradient_loss, relative_depth_loss, scale_shift_invariant_loss
from da3jax.training.losses.global_local import align_depth, global_local_loss
from da3jax.training.losses.least_absolute import align_least_absolute
from da3jax.training.losses.masks import mask_loss
from da3jax.training.losses.motion import motion_loss
from da3jax.training.losses.normal import normal_loss
from da3jax.training.losses.normalization import NormalizedTargets, normalize_targets
from da3jax.training.losses.supervision import align_teacher, canonical_depth, draw_pose_conditioning, supervise
from da3jax.training.losses.targets import Targets
from da3jax.training.losses.total import outputs_of, outputs_of_term, total_loss

__all__ = [
    "LOSSES",
    "LossConfig",
    "LossWeights",
    "NormalizedTargets",
    "Targets",
    "align_depth",
    "align_least_absolute",
    "align_teacher",
    "attention_loss",
    "camera_losses",
    "canonical_depth",
    "confidence_loss",
    "confidence_statistics",
    "correspondence_loss",
    "depth_loss",
    "draw_pose_conditioning",
    "global_local_loss",
    "gradient_loss",
    "mask_loss",
    "motion_loss",
    "normal_loss",
    "normalize_targets",
    "outputs_of",
    "outputs_of_term",
    "point_loss",
    "ray_loss",
    "relative_depth_loss",
    "scale_shift_invariant_loss",
    "supervise",
    "total_loss",
]
