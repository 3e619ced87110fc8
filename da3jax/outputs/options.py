"""What the formats can be told."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from da3jax.schema import one_of
from da3jax.types import LazyImage

THINNING = ("voxel", "random")
MESH_METHODS = ("grid", "tsdf")


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
    thinning: str = "voxel"
    """How more points than that become fewer: `voxel`, one in each cube of a grid, or `random`, as in the official export."""
    filter_sky: bool = True
    """Whether sky is left out; otherwise it stands at the far depth that the network's sky is filled with."""
    filter_black_bg: bool = False
    """Whether pixels that are nearly black become no points."""
    filter_white_bg: bool = False
    """Whether pixels that are nearly white become no points."""
    edge_threshold: float | None = None
    """Pixels between a near and a far surface, whose depth differs from both by more than this share, become no points; 0.05 is a good
    value, None keeps them, as the official export does."""
    sparse_max_points: int = 100_000
    """At most so many points are written into sparse models: `colmap`, `nerfstudio`."""
    track_tolerance: float = 0.01
    """In sparse models, views see the same point where its depth and theirs differ by at most this share."""
    show_cameras: bool = True
    """Whether the cameras are drawn."""
    seed: int = 0
    """Chooses the points that are kept, where they are drawn at random."""
    png16_scale: float | None = None
    """What one step of a 16-bit depth image is worth; None is 0.001 (millimetres) in metres, else what uses the range up."""
    depth_vis_legend: bool = True
    """Whether the values of the colours stand beside coloured depth."""
    depth_vis_shared_scale: bool = False
    """Whether all views are coloured by one scale; otherwise each by its own, which shows more."""
    video_fps: float = 15.0
    """Views a second in videos of depth."""
    feat_vis_fps: float = 15.0
    """Views a second in videos of features."""
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
    mesh_method: str = "grid"
    """`grid`, the pixels of each view joined to their neighbours, sharp and textured; or `tsdf`, all views averaged in a volume."""
    mesh_edge_threshold: float = 85.0
    """The mesh is cut where its surface is seen at more than so many degrees from face on; 90 cuts nothing."""
    mesh_max_faces: int = 2_000_000
    """At most so many triangles are written: where there would be more, they are coarser."""
    mesh_voxel_size: float | None = None
    """Of `tsdf`, in the prediction's unit; None is about 1.5 pixels at the lower quartile of depth."""

    def __post_init__(self):
        for name in ("num_max_points", "sparse_max_points", "mesh_max_faces"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} is {getattr(self, name)}; it is at least 1")
        if self.seed < 0:
            raise ValueError(f"seed is {self.seed}; it is a whole number, at least 0")
        if not 0 < self.track_tolerance < 1:
            raise ValueError(f"track_tolerance is {self.track_tolerance}; it is between 0 and 1, both excluded")
        if not 0 <= self.conf_thresh_percentile <= 100:
            raise ValueError(f"conf_thresh_percentile is {self.conf_thresh_percentile}; it is between 0 and 100")
        one_of("thinning", self.thinning, THINNING)
        one_of("mesh_method", self.mesh_method, MESH_METHODS)
        for name in ("edge_threshold", "png16_scale", "mesh_voxel_size"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"{name} is {value}; it is a positive number, or None")
        for name in ("video_fps", "feat_vis_fps"):
            fps = getattr(self, name)
            if not 0.1 <= fps <= 1000:
                raise ValueError(f"{name} is {fps}; it is in frames a second, between 0.1 and 1000")
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
        if not 0 < self.mesh_edge_threshold <= 90:
            raise ValueError(f"mesh_edge_threshold is {self.mesh_edge_threshold}; it is an angle in degrees, above 0 and at most 90")


def export_options(**options: Any) -> ExportOptions:
    """`ExportOptions`, but that an unknown name is refused like a value out of its range."""
    allowed = tuple(field.name for field in dataclasses.fields(ExportOptions))
    for name in options:
        one_of("export option", name, allowed)
    return ExportOptions(**options)
