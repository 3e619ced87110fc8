"""What the formats can be told."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from da3jax.types import LazyImage


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """Options of `export`; each format reads those that concern it.

    Raises:
        ValueError: one that is out of its range.
    """

    conf_thresh_percentile: float = 40.0
    """Points whose confidence is below this percentile are left out."""
    num_max_points: int = 1_000_000
    """At most so many points are written."""
    show_cameras: bool = True
    """Whether the cameras are drawn."""
    seed: int = 0
    """Chooses the points that are kept."""
    video_fps: float = 15.0
    """Views a second in videos of depth."""
    feat_vis_fps: float = 15.0
    """Views a second in videos of features."""
    images: Sequence[LazyImage] | None = None
    """The N pictures at their own size, for formats that name or contain them."""

    def __post_init__(self):
        if self.num_max_points < 1:
            raise ValueError(f"num_max_points is {self.num_max_points}; it is at least 1")
        if not 0 <= self.conf_thresh_percentile <= 100:
            raise ValueError(f"conf_thresh_percentile is {self.conf_thresh_percentile}; it is between 0 and 100")
        for name in ("video_fps", "feat_vis_fps"):
            fps = getattr(self, name)
            if not 0.1 <= fps <= 1000:
                raise ValueError(f"{name} is {fps}; it is in frames a second, between 0.1 and 1000")
