"""A scene of textured triangles as binary glTF, and with colours at its vertices as PLY."""

from __future__ import annotations

import pathlib

import numpy as np

from da3jax.outputs.atomic import atomic
from da3jax.outputs.cameras import known_or_assumed_cameras
from da3jax.outputs.cleanup import kept_pixels
from da3jax.outputs.grid_mesh import grid_mesh
from da3jax.outputs.options import ExportOptions
from da3jax.outputs.surface import Surface
from da3jax.types import Prediction

_CLAMP_TO_EDGE = 33071
"""glTF's number for a texture that ends at its border."""


def write_mesh(prediction: Prediction, export_dir: pathlib.Path, options: ExportOptions) -> list[pathlib.Path]:
    """Writes `mesh.glb`, textured with the processed pictures, and `mesh.ply`, the same triangles with colours at their vertices.

    Corners are the pixels that `kept_pixels` keeps, at their centres. The vertices of both files are in the prediction's world; the
    root node of `mesh.glb` turns it as that of `scene.glb` does. A triangle's front is the side that was seen, and both sides are drawn.
    Textures are the photographs as they are, so materials are unlit (KHR_materials_unlit; without light on viewers that do not know it)
    and there are no normals.

    Raises:
        ValueError: a camera that cannot be inverted, or not one triangle.
    """
    keep = kept_pixels(prediction, options)
    intrinsics, extrinsics = known_or_assumed_cameras(prediction, keep, "mesh.glb")
    surfaces = grid_mesh(prediction, keep, intrinsics, extrinsics, options)
    if not surfaces:
        raise ValueError(
            "mesh.glb would be empty: nowhere do three neighbouring pixels have a depth that is kept and no depth edge between them"
        )

    contents = {"mesh.glb": _glb(surfaces, extrinsics), "mesh.ply": _ply(surfaces)}
    for name, content in contents.items():
        with atomic(export_dir / name) as temp:
            temp.write_bytes(content)
    return [export_dir / name for name in contents]


def _glb(surfaces: list[Surface], extrinsics: np.ndarray) -> bytes:
    import trimesh
    from PIL import Image
    from trimesh.visual.material import PBRMaterial

    transform = np.diag([1.0, -1.0, -1.0, 1.0]) @ extrinsics[0]
    scene = trimesh.Scene(base_frame="world", metadata={"world_to_scene": transform.tolist()})
    scene.graph.update("root", matrix=transform)
    for surface in surfaces:
        material = PBRMaterial(
            name=surface.name,
            baseColorTexture=Image.fromarray(surface.texture),
            metallicFactor=0.0,
            roughnessFactor=1.0,
            doubleSided=True,
        )
        uv = surface.uv * [1, -1] + [0, 1]  # trimesh counts from the bottom, and turns it for glTF
        mesh = trimesh.Trimesh(
            surface.vertices,
            surface.triangles,
            visual=trimesh.visual.TextureVisuals(uv=uv, material=material),
            process=False,
        )
        scene.add_geometry(mesh, geom_name=surface.name, node_name=surface.name, parent_node_name="root")

    def finish(tree: dict) -> None:
        tree["extensionsUsed"] = ["KHR_materials_unlit"]
        tree["samplers"] = [{"wrapS": _CLAMP_TO_EDGE, "wrapT": _CLAMP_TO_EDGE}]
        for material in tree["materials"]:
            material["extensions"] = {"KHR_materials_unlit": {}}
        for texture in tree["textures"]:
            texture["sampler"] = 0

    return scene.export(file_type="glb", tree_postprocessor=finish)


def _ply(surfaces: list[Surface]) -> bytes:
    """Binary little-endian PLY."""
    vertices = sum(len(surface.vertices) for surface in surfaces)
    faces = sum(len(surface.triangles) for surface in surfaces)
    vertex = np.zeros(vertices, [("position", "<f4", 3), ("colour", "u1", 3)])
    vertex["position"] = np.concatenate([surface.vertices for surface in surfaces])
    vertex["colour"] = np.concatenate([surface.colours for surface in surfaces])
    face = np.zeros(faces, [("count", "u1"), ("corners", "<i4", 3)])
    face["count"] = 3
    starts = np.cumsum([0, *(len(surface.vertices) for surface in surfaces[:-1])])
    face["corners"] = np.concatenate([surface.triangles + start for surface, start in zip(surfaces, starts, strict=True)])
    header = (
        "ply\nformat binary_little_endian 1.0\n"
        f"element vertex {vertices}\nproperty float x\nproperty float y\nproperty float z\n"
        "property uchar red\nproperty uchar green\nproperty uchar blue\n"
        f"element face {faces}\nproperty list uchar int vertex_indices\nend_header\n"
    )
    return b"".join([header.encode(), vertex.tobytes(), face.tobytes()])
