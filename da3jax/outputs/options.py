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
    images: Sequence[LazyImage] | None = None
    """The N pictures at their own size, for formats that name or contain them."""
    gs_sh_degree: int = 2
    """Degree, 0 to 3, of the harmonics that are written: 2 is all of them, 0 leaves out what depends on the direction of view, as the
    official export does, 3 adds zeros for programs that read no other degree."""
    gs_trim_border: float = 8 / 256
    """Share of an image's height and width without Gaussians at each of its four borders."""
    gs_depth_quantile: float = 0.9
    """Share of a view's Gaussians, from the nearest on, that are written."""
    gs_min_opacity: float = 1 / 255
    """Gaussians less opaque are left out; those below the default are not drawn by splatting programs."""
    gs_views_interval: int | None = 1
    """Of a scene, Gaussians of every so many views are written; None for about 12 views."""

    def __post_init__(self):
        if self.num_max_points < 1:
            raise ValueError(f"num_max_points is {self.num_max_points}; it is at least 1")
        if not 0 <= self.conf_thresh_percentile <= 100:
            raise ValueError(f"conf_thresh_percentile is {self.conf_thresh_percentile}; it is between 0 and 100")
        if self.gs_sh_degree not in range(4):
            raise ValueError(f"gs_sh_degree is {self.gs_sh_degree}; it is 0, 1, 2 or 3")
        if not 0 <= self.gs_trim_border < 0.5:
            raise ValueError(f"gs_trim_border is {self.gs_trim_border}; it is at least 0 and less than 0.5")
        if not 0 < self.gs_depth_quantile <= 1:
            raise ValueError(f"gs_depth_quantile is {self.gs_depth_quantile}; it is more than 0 and at most 1")
        if not 0 <= self.gs_min_opacity <= 1:
            raise ValueError(f"gs_min_opacity is {self.gs_min_opacity}; it is between 0 and 1")
        if self.gs_views_interval is not None and self.gs_views_interval < 1:
            raise ValueError(f"gs_views_interval is {self.gs_views_interval}; it is at least 1, or None for about 12 views")
