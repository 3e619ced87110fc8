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

    mesh_edge_threshold: float = 85.0
    """The mesh is cut where its surface is seen at more than so many degrees from face on; 90 cuts nothing."""
    mesh_max_faces: int = 2_000_000
    """At most so many triangles are written: where there would be more, they are coarser."""

    def __post_init__(self):
        if self.num_max_points < 1:
            raise ValueError(f"num_max_points is {self.num_max_points}; it is at least 1")
        if not 0 <= self.conf_thresh_percentile <= 100:
            raise ValueError(f"conf_thresh_percentile is {self.conf_thresh_percentile}; it is between 0 and 100")
        if not 0 < self.mesh_edge_threshold <= 90:
            raise ValueError(f"mesh_edge_threshold is {self.mesh_edge_threshold}; it is an angle in degrees, above 0 and at most 90")
        if self.mesh_max_faces < 1:
            raise ValueError(f"mesh_max_faces is {self.mesh_max_faces}; it is at least 1")
