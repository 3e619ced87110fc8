"""What the formats can be told, as options of the command line."""

import dataclasses
from typing import Annotated, Any

import typer

from da3jax.cli.option_kinds import choice
from da3jax.outputs import ExportOptions
from da3jax.outputs.options import MESH_METHODS, THINNING


def _option(help: str) -> Any:
    """An option whose bounds `ExportOptions` checks."""
    return typer.Option(help=help)


@dataclasses.dataclass(frozen=True)
class ExportFlags:
    """The fields of `ExportOptions` that a command line can give, each with its help."""

    conf_thresh_percentile: Annotated[float, _option("Points and meshes: what is below this percentile of confidence is left out.")] = 40.0
    filter_sky: Annotated[bool, _option("Points, meshes and 16-bit depth: leave sky out.")] = True
    filter_black_bg: Annotated[bool, _option("Points and meshes: leave out pixels that are nearly black.")] = False
    filter_white_bg: Annotated[bool, _option("Points and meshes: leave out pixels that are nearly white.")] = False
    edge_threshold: Annotated[
        float | None, _option("Points and meshes: leave out pixels that hang between a near and a far surface; 0.05 is a good value.")
    ] = None

    num_max_points: Annotated[int, _option("Points: the most that are written.")] = 1_000_000
    thinning: Annotated[str, choice(THINNING, "glb, ply, rerun: how more points than that become fewer.")] = "voxel"
    seed: Annotated[int, _option("Points: chooses them where they are drawn at random; the same seed gives the same ones.")] = 0
    show_cameras: Annotated[bool, _option("glb, rerun: draw the cameras.")] = True

    sparse_max_points: Annotated[int, _option("colmap, nerfstudio: the most points that are written.")] = 100_000
    track_tolerance: Annotated[
        float, _option("colmap, nerfstudio: views see the same point where its depth and theirs differ by at most this share.")
    ] = 0.01

    mesh_method: Annotated[
        str, choice(MESH_METHODS, "mesh: join the pixels of each view, sharp and textured, or average all views in a volume.")
    ] = "grid"
    mesh_edge_threshold: Annotated[float, _option("mesh: cut where a surface is seen at more degrees from face on; 90 cuts nothing.")] = (
        85.0
    )
    mesh_max_faces: Annotated[int, _option("mesh: the most triangles that are written; more become coarser.")] = 2_000_000
    mesh_voxel_size: Annotated[
        float | None, _option("mesh, tsdf: side of a voxel; the default is about 1.5 pixels at the lower quartile of depth.")
    ] = None

    gs_sh_degree: Annotated[int, _option("gs_ply: degree of the harmonics that are written, 0 (colour alone, as officially) to 3.")] = 2
    gs_trim_border: Annotated[float, _option("gs_ply: share of height and width that is cut at each border.")] = 8 / 256
    gs_depth_quantile: Annotated[float, _option("gs_ply: share of a view's Gaussians, nearest first, that are kept.")] = 0.9
    gs_min_opacity: Annotated[float, _option("gs_ply: what is less opaque is left out.")] = 1 / 255
    gs_views_interval: Annotated[int | None, _option("gs_ply: the Gaussians of every so many views.")] = 1

    png16_scale: Annotated[
        float | None, _option("depth_png16: what a step is worth; the default is 0.001 in metres, else what uses the range up.")
    ] = None
    depth_vis_legend: Annotated[bool, _option("depth_vis: values beside the colours.")] = True
    depth_vis_shared_scale: Annotated[bool, _option("depth_vis: one scale for all views.")] = False
    video_fps: Annotated[float, _option("video: views a second.")] = 15.0
    feat_vis_fps: Annotated[float, _option("feat_vis: views a second.")] = 15.0

    def __post_init__(self):
        try:
            ExportOptions(**self.export_options)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error

    @property
    def export_options(self) -> dict[str, Any]:
        """As `da3jax.outputs.export` takes them."""
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(ExportFlags)}
