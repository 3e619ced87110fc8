"""What a run is trained on: sources, numbers of views, sizes, augmentation."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass
from typing import ClassVar

from da3jax.config import PATCH_SIZE
from da3jax.schema import at_least
from da3jax.training.scenes.paths import CameraRanges


def _check_weight(weight: float) -> None:
    if not 0 <= weight < math.inf:
        raise ValueError(f"weight is {weight}; the weight of a source is a finite number from 0 on")


@dataclass(frozen=True)
class ProceduralConfig:
    """Scenes of `da3jax.training.scenes`, rendered on the device."""

    type: ClassVar[str] = "procedural"
    weight: float = 1.0
    """How often a batch comes from this source, relative to the others."""
    ranges: CameraRanges = CameraRanges()  # noqa: RUF009  (frozen)
    samples: int = 1
    """Rays a pixel and axis for colours."""
    in_order: bool = False
    """Views follow their path. Otherwise they are in random order, as those of folders are, and the first, which training takes for the
    reference, may be any of them."""

    def __post_init__(self):
        _check_weight(self.weight)
        at_least("samples", self.samples, 1)


@dataclass(frozen=True)
class FolderConfig:
    """A folder of scenes on disk; `da3jax.training.data.scene_folder` says what a scene is made of."""

    type: ClassVar[str] = "folder"
    path: str
    weight: float = 1.0
    """How often a batch comes from this source, relative to the others."""
    window: int = 16
    """The views of a sample are drawn from this many images that follow one another in the order of their names."""
    depth_scale: float = 0.001
    """Metres a step of 16-bit PNG depth; 0 is unknown."""
    labelled: bool = True
    """Whether scenes have depth and cameras. Of others `images/` is all that is read, and a teacher labels them."""

    def __post_init__(self):
        if not self.path:
            raise ValueError("path is empty; it is a folder that holds a folder for each scene")
        object.__setattr__(self, "path", os.path.expanduser(self.path))  # noqa: PTH111  (leaves what is nobody's home alone)
        _check_weight(self.weight)
        at_least("window", self.window, 1)
        if not 0 < self.depth_scale < math.inf:
            raise ValueError(f"depth_scale is {self.depth_scale}; it is a positive number of metres")


SourceConfig = ProceduralConfig | FolderConfig


@dataclass(frozen=True)
class AugmentConfig:
    """Geometric changes, of folders only, and photometric ones. The paper gives the quarter turns, the rest is ours."""

    crop: tuple[float, float] = (0.6, 1.0)
    """Side of the crop as a share of the largest of the bucket's aspect, drawn evenly, one for all views of a scene."""
    crop_shift: float = 0.0
    """How far crops may lie off the principal point, a view at a time, as a share of the room there is. 0, as the cameras that the network
    predicts have theirs in the middle."""
    flip: float = 0.0
    """Probability of mirroring a scene left to right, cameras too."""
    quarter_turn: float = 0.0
    """Probability of turning the images of a scene by 90 degrees, half of them each way. Section 4.4: 0.05 for the metric network."""

    brightness: float = 0.2
    """Colours are multiplied by 1 ± this."""
    contrast: float = 0.2
    """Differences to the scene's mean grey are multiplied by 1 ± this."""
    saturation: float = 0.2
    """Differences to each pixel's grey are multiplied by 1 ± this."""
    hue: float = 0.05
    """± this part of the circle of colours."""
    per_view: float = 0.2
    """A view differs from the scene's draw of these four by up to this share of their ranges."""
    grey: float = 0.05
    """Probability that a scene has no colours."""
    blur: float = 0.05
    """Probability that a view is blurred."""
    blur_sigma: float = 1.5
    """Largest deviation of the blur, in pixels."""

    def __post_init__(self):
        object.__setattr__(self, "crop", tuple(self.crop))  # a list would not hash
        if not 0 < self.crop[0] <= self.crop[1] <= 1:
            raise ValueError(f"crop is from {self.crop[0]} to {self.crop[1]}; it lies above 0 and up to 1, the lower end first")
        for name in ("crop_shift", "flip", "quarter_turn", "brightness", "contrast", "saturation", "per_view", "grey", "blur"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it is a number from 0 to 1")
        if not 0 <= self.hue <= 0.5:
            raise ValueError(f"hue is {self.hue}; it is a number from 0 to 0.5, half the circle of colours")
        if not 0 < self.blur_sigma <= 4:
            raise ValueError(f"blur_sigma is {self.blur_sigma}; it is a number of pixels above 0 and up to 4")


@dataclass(frozen=True)
class DataConfig:
    """The mixture, and what its batches look like. Defaults: the paper's, section 3.4, on scenes that need no files."""

    sources: tuple[SourceConfig, ...] = (ProceduralConfig(),)
    views: tuple[int, ...] = tuple(range(2, 19))
    """Numbers of views of a scene, drawn evenly, one a batch."""
    sizes: tuple[tuple[int, int], ...] = (
        (504, 504), (504, 378), (504, 336), (504, 280), (336, 504), (896, 504), (756, 504), (672, 504),
    )  # fmt: skip
    """(height, width) in pixels, drawn evenly, one a batch."""
    batch_tokens: int = 46_656
    """Patches of a batch over all devices: two scenes of 18 views at 504 × 504. The paper says that it is constant, not what it is."""
    augment: AugmentConfig = AugmentConfig()
    workers: int = 0
    """Processes that load files; 0 loads them in the process that trains. The batches do not depend on it."""

    def __post_init__(self):
        for name, value in (("sources", self.sources), ("views", self.views), ("sizes", map(tuple, self.sizes))):
            object.__setattr__(self, name, tuple(value))
        if not self.sources:
            raise ValueError("sources are empty; a run needs at least one, such as {type: procedural}")
        if not any(source.weight for source in self.sources):
            raise ValueError("all sources have weight 0; at least one is positive")
        if not self.views or min(self.views) < 1:
            raise ValueError(f"views are {list(self.views)}; they are numbers from 1 on, at least one of them")
        if not self.sizes:
            raise ValueError("sizes are empty; a run needs at least one (height, width)")
        for size in self.sizes:
            if len(size) != 2 or any(side < PATCH_SIZE or side % PATCH_SIZE for side in size):
                raise ValueError(f"a size is {size}; it is (height, width) in multiples of {PATCH_SIZE} pixels")
        at_least("batch_tokens", self.batch_tokens, 1)
        at_least("workers", self.workers, 0)

    @property
    def labelled(self) -> bool:
        """Whether all sources that batches come from have depth and cameras."""
        return all(isinstance(source, ProceduralConfig) or source.labelled or not source.weight for source in self.sources)
