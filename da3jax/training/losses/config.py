"""What the losses leave to choose: each default with its source, and the choices of the four kinds of network."""

from __future__ import annotations

import dataclasses
import math
import types
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from da3jax.config import CANONICAL_FOCAL
from da3jax.schema import at_least, one_of


@dataclass(frozen=True)
class LossWeights:
    """What each term of the total counts; a term of weight 0 is not computed. Defaults: the main model's, paper section 3.3."""

    depth: float = 1.0
    ray: float = 1.0
    point: float = 1.0
    camera: float = 1.0
    """β of section 3.3."""
    gradient: float = 1.0
    """α of section 3.3; 0.5 for the teacher, section 4.1."""
    global_local: float = 0.0
    """1 for the teacher, section 4.1, as are the next three."""
    normal: float = 0.0
    sky: float = 0.0
    objects: float = 0.0
    scale_shift_invariant: float = 0.0
    """For training Gaussians, section 5.1."""
    correspondence: float = 0.0
    """For a network that starts from nothing; not of the paper."""
    attention: float = 0.0
    """Likewise."""
    motion: float = 0.0
    """Likewise."""
    relative_depth: float = 0.0
    """Likewise."""

    def __post_init__(self):
        for name, weight in dataclasses.asdict(self).items():
            if not 0 <= weight < math.inf:
                raise ValueError(f"weights.{name} is {weight}; the weight of a loss is a finite number from 0 on")
        if not any(dataclasses.asdict(self).values()):
            raise ValueError(f"all loss weights are 0; at least one of {', '.join(dataclasses.asdict(self))} is positive")


@dataclass(frozen=True)
class LossConfig:
    """Which losses, and what the paper (arXiv 2511.10647) leaves open about them."""

    weights: LossWeights = LossWeights()
    units: Literal["scene", "canonical", "relative"] = "scene"
    """What depth is compared in. `scene`: truth in the first view's frame, divided by the mean distance of its points (section 3.3).
    `canonical`: metres · canonical_focal / focal length (section 4.4). `relative`: as `scene`, and before `depth`, `gradient` and `normal`
    the prediction is brought onto each view's truth by scale and shift (section 4.1)."""

    confidence_reward: float = 0.2
    """λ of c · |error| − λ log c. The paper does not say; DUSt3R (arXiv 2312.14132) has 0.2, and who retrained this network kept it."""
    max_confidence: float | None = 100.0
    """Guard against confidence that runs away on data a network can learn by heart: no pixel counts more than this many times, nor is more
    confidence rewarded. Ours: at λ = 0.2 it is the best confidence of an error of 0.2 % of the scene's size. None: no guard, as the
    paper."""
    ray_confidence: bool = True
    """Whether rays are weighted by their confidence, in the form of the depth loss. The paper writes that form for depth only; rays have a
    confidence output that nothing else trains."""
    point_confidence: bool = False
    """Whether points are weighted by the confidence of depth. Off as the paper writes it."""

    camera_translation: float = 1.0
    """Weights inside the camera loss. The paper gives none; 1, 1, 0.5 are VGGT's (arXiv 2503.11651)."""
    camera_quaternion: float = 1.0
    camera_fov: float = 0.5
    gradient_scales: int = 4
    """Grids of the gradient loss, each with half the pixels a side. The paper does not say; MiDaS (arXiv 1907.01341) has 4."""

    local_levels: tuple[int, ...] = (4, 16, 64)
    """Windows a side of the global-local loss. Source: MoGe (arXiv 2410.19115), whose balls have these parts of the image's diagonal."""
    align_samples: int = 1024
    """Pixels that an alignment is fitted to, for the whole view; level L fits each window to this / L. MoGe: 32² and 16², 8², 4²."""
    least_local_pixels: int = 32
    """Windows with fewer valid pixels do not count. Source: MoGe."""

    correspondence_block: int = 0
    """The backbone's block after which patches are to be alike that show the same. One before the first cross-view block teaches it what to
    look for, a later one to look."""
    correspondence_temperature: float = 0.1
    """SimCLR (arXiv 2002.05709) found 0.1 best for normalised features; it is what a difference in cosine is divided by."""

    attention_blocks: tuple[int, ...] = ()
    """Cross-view blocks whose attention is taught where patches look."""
    attention_heads: int = 1
    """How many heads of each are."""

    canonical_focal: float = CANONICAL_FOCAL
    """Pixels. Source: section 4.4."""
    teacher_from: int = 120_000
    """The step from which aligned teacher depth replaces ground truth. Source: section 3.4."""
    ground_truth_probability: float = 0.0
    """How often a view keeps its ground truth after that. 0.2 for the metric network, section 4.4."""
    pose_probability: float = 0.2
    """How often the network is conditioned on the poses. Source: section 3.4."""

    def __post_init__(self):
        for name in ("local_levels", "attention_blocks"):
            object.__setattr__(self, name, tuple(getattr(self, name)))  # a list would not hash
        one_of("units", self.units, ("scene", "canonical", "relative"))
        for name in ("ray", "point", "camera", "correspondence", "attention", "motion") if self.units != "scene" else ():
            if getattr(self.weights, name):
                raise ValueError(f"weights.{name} is {getattr(self.weights, name)} with units {self.units}; it is 0 unless units are scene")
        for name in ("confidence_reward", "canonical_focal", "correspondence_temperature"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a positive number")
        if bool(self.weights.attention) != bool(self.attention_blocks):
            raise ValueError(
                f"weights.attention is {self.weights.attention} with attention_blocks {list(self.attention_blocks)}; "
                f"the weight is positive if and only if blocks are named"
            )
        if self.max_confidence is not None and not self.max_confidence > 1:
            raise ValueError(f"max_confidence is {self.max_confidence}; confidences start at 1, so it is above 1, or null for no guard")
        for name in ("camera_translation", "camera_quaternion", "camera_fov"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} is {getattr(self, name)}; the weight of a loss is a finite number from 0 on")
        for name in ("ground_truth_probability", "pose_probability"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; a probability is a number from 0 to 1")
        leasts = {"gradient_scales": 1, "least_local_pixels": 2, "teacher_from": 0, "correspondence_block": 0, "attention_heads": 1}
        for name, least in leasts.items():
            at_least(name, getattr(self, name), least)
        if any(level < 2 for level in self.local_levels):
            raise ValueError(f"local_levels are {list(self.local_levels)}; a level is 2 windows a side or more")
        if self.align_samples < 2 * max(self.local_levels, default=1):
            needed = 2 * max(self.local_levels, default=1)
            raise ValueError(f"align_samples is {self.align_samples}; with these local_levels it is at least {needed}, two pixels a window")

    @property
    def feature_layers(self) -> tuple[int, ...]:
        """Blocks of the backbone whose features the losses look at."""
        return (self.correspondence_block,) if self.weights.correspondence else ()

    @property
    def attention_layers(self) -> tuple[int, ...]:
        """Cross-view blocks whose queries and keys the losses look at."""
        return self.attention_blocks if self.weights.attention else ()


_TEACHER = LossConfig(
    LossWeights(depth=0, ray=0, point=0, camera=0, gradient=0.5, global_local=1, normal=1, sky=1, objects=1),
    units="relative",
    teacher_from=0,  # by synthetic truth alone where it is the teacher that is trained, by a teacher from the first step on where mono is
)

LOSSES: Mapping[str, LossConfig] = types.MappingProxyType(
    {
        "anyview": LossConfig(),
        "teacher": _TEACHER,
        "mono": dataclasses.replace(_TEACHER, weights=dataclasses.replace(_TEACHER.weights, objects=0)),
        "metric": LossConfig(
            LossWeights(ray=0, point=0, camera=0, gradient=0.5, sky=1),
            units="canonical",
            teacher_from=0,
            ground_truth_probability=0.2,
        ),
    }
)
"""The losses of the paper's networks: sections 3.3, 4.1, 4.3 and 4.4. Of the metric network's sum the paper gives the terms and not the
weights: they are the teacher's. The released mono network has no object mask to train."""
