"""What the formats can be told."""

from __future__ import annotations

import dataclasses
import math
import numbers
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from da3jax.schema import is_integer, one_of
from da3jax.types import LazyImage

THINNING = ("voxel", "random")
MESH_METHODS = ("grid", "tsdf")

_COUNT = (lambda x: is_integer(x) and x >= 1, "a whole number, at least 1")
_FPS = (lambda x: 0.1 <= x <= 1000, "in frames a second, between 0.1 and 1000")
_POSITIVE_OR_NONE = (lambda x: x is None or 0 < x < math.inf, "a positive number, or None")

_BOUNDS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "conf_thresh_percentile": (lambda x: 0 <= x <= 100, "between 0 and 100"),
    "edge_threshold": _POSITIVE_OR_NONE,
    "num_max_points": _COUNT,
    "seed": (lambda x: is_integer(x) and x >= 0, "a whole number, at least 0"),
    "sparse_max_points": _COUNT,
    "track_tolerance": (lambda x: 0 < x < 1, "between 0 and 1, both excluded"),
    "mesh_edge_threshold": (lambda x: 0 < x <= 90, "an angle in degrees, above 0 and at most 90"),
    "mesh_max_faces": _COUNT,
    "mesh_voxel_size": _POSITIVE_OR_NONE,
    "gs_sh_degree": (lambda x: is_integer(x) and 0 <= x <= 3, "0, 1, 2 or 3"),
    "gs_trim_border": (lambda x: 0 <= x < 0.5, "at least 0 and less than 0.5"),
    "gs_depth_quantile": (lambda x: 0 < x <= 1, "more than 0 and at most 1"),
    "gs_min_opacity": (lambda x: 0 <= x <= 1, "between 0 and 1"),
    "gs_views_interval": (lambda x: x is None or (is_integer(x) and x >= 1), "a whole number, at least 1, or None for about 12 views"),
    "png16_scale": _POSITIVE_OR_NONE,
    "video_fps": _FPS,
    "feat_vis_fps": _FPS,
}
"""Whether a value will do, and what to say if not."""


@dataclasses.dataclass(frozen=True)
class ExportOptions:
    """Options of `export`; each format reads those that concern it.

    Raises:
        ValueError: one that is out of its range, or of another kind.
    """

    # Which pixels become points and surfaces: glb, ply, rerun, the viewer, mesh, colmap, nerfstudio; filter_sky: depth_png16, too.
    conf_thresh_percentile: float = 40.0
    """Points whose confidence is below this percentile are left out."""
    filter_sky: bool = True
    """Whether sky is left out; otherwise it stands at the far depth that the network's sky is filled with."""
    filter_black_bg: bool = False
    """Whether pixels that are nearly black become no points."""
    filter_white_bg: bool = False
    """Whether pixels that are nearly white become no points."""
    edge_threshold: float | None = None
    """Pixels between a near and a far surface, whose depth differs from both by more than this share, become no points; 0.05 is a good
    value, None keeps them, as the official export does."""

    # Scenes of points and cameras: glb, ply, rerun, the viewer; the most points and the seed: colmap, nerfstudio, too.
    num_max_points: int = 1_000_000
    """At most so many points are written."""
    thinning: str = "voxel"
    """How more points than that become fewer: `voxel`, one in each cube of a grid, or `random`, as in the official export."""
    seed: int = 0
    """Chooses the points that are kept, where they are drawn at random."""
    show_cameras: bool = True
    """Whether the cameras are drawn; `ply` has none."""

    # Sparse models: colmap, nerfstudio.
    sparse_max_points: int = 100_000
    """At most so many points are written, and no more than `num_max_points`."""
    track_tolerance: float = 0.01
    """Views see the same point where its depth and theirs differ by at most this share."""
    images: Sequence[LazyImage] | None = None
    """The N pictures at their own size, which are named and copied; None leaves them to the caller."""

    # mesh
    mesh_method: str = "grid"
    """`grid`, the pixels of each view joined to their neighbours, sharp and textured; or `tsdf`, all views averaged in a volume."""
    mesh_edge_threshold: float = 85.0
    """The mesh is cut where its surface is seen at more than so many degrees from face on; 90 cuts nothing."""
    mesh_max_faces: int = 2_000_000
    """At most so many triangles are written: where there would be more, they are coarser."""
    mesh_voxel_size: float | None = None
    """Of `tsdf`, in the prediction's unit; None is about 1.5 pixels at the lower quartile of depth."""

    # gs_ply
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

    # Pictures and videos: depth_png16, depth_vis, video, feat_vis.
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

    def __post_init__(self):
        one_of("thinning", self.thinning, THINNING)
        one_of("mesh_method", self.mesh_method, MESH_METHODS)
        for field in dataclasses.fields(self):
            if field.type == "bool" and not isinstance(value := getattr(self, field.name), bool | np.bool_):
                raise ValueError(f"{field.name} is {value!r}; it is True or False")
        for name, (will_do, bounds) in _BOUNDS.items():
            value = getattr(self, name)
            try:
                good = isinstance(value, numbers.Real | None) and not isinstance(value, bool) and will_do(value)
            except TypeError:  # None, where there is to be a number
                good = False
            if not good:
                raise ValueError(f"{name} is {value!r}; it is {bounds}")
        if self.mesh_voxel_size is not None and self.mesh_method != "tsdf":
            raise ValueError(f"mesh_voxel_size is of mesh_method 'tsdf', and mesh_method is {self.mesh_method!r}; change one of the two")
        lazy = isinstance(self.images, Sequence) and all(isinstance(image, LazyImage) for image in self.images)
        if self.images is not None and not lazy:
            raise ValueError("images is not a list of LazyImage; da3jax.inputs.lazy_images makes one of files, PIL images and arrays")


def export_options(**options: Any) -> ExportOptions:
    """`ExportOptions`, but that an unknown name is refused like a value out of its range."""
    allowed = tuple(field.name for field in dataclasses.fields(ExportOptions))
    for name in options:
        one_of("export option", name, allowed)
    return ExportOptions(**options)
