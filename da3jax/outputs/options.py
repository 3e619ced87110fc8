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
    sparse_max_points: int = 100_000
    """At most so many points are written into sparse models: `colmap`, `nerfstudio`."""
    track_tolerance: float = 0.01
    """In sparse models, views see the same point where its depth and theirs differ by at most this share."""
    show_cameras: bool = True
    """Whether the cameras are drawn."""
    seed: int = 0
    """Chooses the points that are kept."""
    images: Sequence[LazyImage] | None = None
    """The N pictures at their own size, for formats that name or contain them."""

    def __post_init__(self):
        for name in ("num_max_points", "sparse_max_points"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it is at least 1")
        if not 0 < self.track_tolerance < 1:
            raise ValueError(f"track_tolerance is {self.track_tolerance}; it is between 0 and 1, both excluded")
        if not 0 <= self.conf_thresh_percentile <= 100:
            raise ValueError(f"conf_thresh_percentile is {self.conf_thresh_percentile}; it is between 0 and 100")
