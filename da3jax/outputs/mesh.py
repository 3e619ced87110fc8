"""A scene of textured triangles as binary glTF, and with colours at its vertices as PLY."""

from __future__ import annotations

import pathlib

import numpy as np

from da3jax.outputs.atomic import write_together
from da3jax.outputs.cameras import known_or_assumed_cameras
from da3jax.outputs.cleanup import kept_pixels
from da3jax.outputs.gltf import encode_glb, world_to_scene
from da3jax.outputs.grid_mesh import grid_mesh
from da3jax.outputs.options import ExportOptions
from da3jax.outputs.ply_file import encode_ply
from da3jax.outputs.points import float32_origin
from da3jax.outputs.surface import Surface
from da3jax.outputs.tsdf_mesh import tsdf_mesh
from da3jax.types import Prediction


def write_mesh(prediction: Prediction, export_dir: pathlib.Path, options: ExportOptions) -> list[pathlib.Path]:
    """Writes `mesh.glb`, textured with the processed pictures, and `mesh.ply`, the same triangles with colours at their vertices.

    `mesh_method` says how: `grid_mesh` joins pixels, `tsdf_mesh` averages views in a volume; the latter has colours at its vertices in both
    files, as sRGB bytes (see `write_glb`). Either uses the pixels that `cleanup.kept_pixels` keeps. The vertices of both files are in
    the prediction's world, and `mesh.glb` is turned for viewers as `scene.glb` is (`gltf.encode_glb`). A triangle's front is the side
    that was seen; there are no normals. Textures are PNG, so that they are the pictures bit for bit. Coordinates of `mesh.ply` are
    `double` where those of `points.ply` are.

    Raises:
        ValueError: a camera that cannot be inverted, or not one triangle.
    """
    keep = kept_pixels(prediction, options)
    intrinsics, extrinsics = known_or_assumed_cameras(prediction, keep, "mesh.glb")
    make = {"grid": grid_mesh, "tsdf": tsdf_mesh}[options.mesh_method]
    surfaces = make(prediction, keep, intrinsics, extrinsics, options)
    if not surfaces:
        limits = f"mesh_edge_threshold {options.mesh_edge_threshold} and mesh_max_faces {options.mesh_max_faces}"
        why = {
            "grid": f"nowhere do three neighbouring pixels have a depth that is kept and no depth edge between them, with {limits}",
            "tsdf": f"no surface is found, with {limits} and mesh_voxel_size {options.mesh_voxel_size or 'left to the depths'}; where "
            "depth is kept, smaller voxels find more, as does mesh_method grid",
        }
        raise ValueError(f"mesh.glb would be empty: {why[options.mesh_method]}")

    files = {
        export_dir / "mesh.glb": _glb(surfaces, extrinsics),
        export_dir / "mesh.ply": _ply(surfaces, is_metric=prediction.is_metric),
    }
    write_together(files)
    return list(files)


def _glb(surfaces: list[Surface], extrinsics: np.ndarray) -> bytes:
    import trimesh
    from PIL import Image
    from trimesh.visual.material import PBRMaterial

    scene = trimesh.Scene()
    for surface in surfaces:
        if surface.texture is None:
            visual = trimesh.visual.ColorVisuals(vertex_colors=surface.colours)
        else:
            image = Image.fromarray(surface.texture)
            material = PBRMaterial(name=surface.name, baseColorTexture=image, metallicFactor=0.0, roughnessFactor=1.0)
            uv = surface.uv * [1, -1] + [0, 1]  # trimesh counts from the lower left corner, and turns it back for glTF
            visual = trimesh.visual.TextureVisuals(uv=uv, material=material)
        mesh = trimesh.Trimesh(surface.vertices, surface.triangles, visual=visual, process=False)
        scene.add_geometry(mesh, geom_name=surface.name, node_name=surface.name)
    vertices = np.concatenate([surface.vertices for surface in surfaces])
    return encode_glb(scene, world_to_scene(extrinsics, vertices), float32_origin(vertices))


def _ply(surfaces: list[Surface], *, is_metric: bool) -> bytes:
    starts = np.cumsum([0, *(len(surface.vertices) for surface in surfaces[:-1])])
    return encode_ply(
        np.concatenate([surface.vertices for surface in surfaces]),
        np.concatenate([surface.colours for surface in surfaces]),
        np.concatenate([surface.triangles + start for surface, start in zip(surfaces, starts, strict=True)]),
        is_metric=is_metric,
    )
