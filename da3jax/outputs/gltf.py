"""A scene as binary glTF: geometry in the prediction's world, below one node that turns it to what a viewer shows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    import trimesh

ROOT = "prediction_world"
"""Name of the node whose matrix is `world_to_scene`; all geometry lies below it."""

_FLIP = np.diag([1.0, -1.0, -1.0])
"""Between OpenCV axes (y down, z forward) and those of glTF (y up, z backward)."""

_CLAMP_TO_EDGE = 33071
"""A texture that ends at its border (glTF 2.0, 5.26)."""

_TRIANGLES = 4
"""What a primitive is made of (glTF 2.0, 5.24)."""

_VERTICES, _INDICES = 34962, 34963
"""What a buffer view is for (glTF 2.0, 5.11.5)."""


def world_to_scene(extrinsics: np.ndarray, points: np.ndarray) -> np.ndarray:
    """From the prediction's world to the frame that a viewer of glTF shows, so that a scene stands upright and in the middle.

    The axes are the first camera's, turned to glTF's (x right, y up, z backward); the origin is the median of the points, or the first
    camera's centre where there are none. The scale stays.

    Args:
        extrinsics: (N, 3 or 4, 4) world-to-camera.
        points: (P, 3) in the world.

    Returns:
        (4, 4) float64. A rotation and a shift, as glTF asks of a node: of extrinsics that are not quite rigid, the nearest rotation.
    """
    first = extrinsics[0].astype(np.float64)
    u, _, vt = np.linalg.svd(first[:3, :3])
    rotation = _FLIP @ u @ vt
    origin = np.linalg.solve(first[:3, :3], -first[:3, 3])
    shift = -np.median((points - origin) @ rotation.T, axis=0) if len(points) else np.zeros(3)
    matrix = np.eye(4)
    matrix[:3, :3] = rotation
    matrix[:3, 3] = shift - rotation @ origin
    return matrix


def encode_glb(scene: trimesh.Scene, to_scene: np.ndarray, origin: np.ndarray) -> bytes:
    """A GLB file of a scene whose geometry is in the prediction's world.

    Vertices are stored as they are in the world, in float32, and one root node, `prediction_world`, has `to_scene` as its matrix. Where
    the world begins far from the scene (`points.float32_origin`), vertices are stored less `origin` and a node below the root,
    `prediction_world_origin`, puts them back. The matrix is also the scene's extra `world_to_scene`, row by row.

    Args:
        scene: of geometry that lies where its vertices say, without transforms of its own; its vertices are moved by `-origin`.
        to_scene: (4, 4), what `world_to_scene` gives.
        origin: (3,) in the world.
    """

    def arrange(tree: dict[str, Any]) -> None:
        for mesh in tree["meshes"]:
            for primitive in mesh["primitives"]:
                used = [(accessor, _VERTICES) for accessor in primitive["attributes"].values()]
                used += [(primitive["indices"], _INDICES)] if "indices" in primitive else []
                for accessor, target in used:
                    tree["bufferViews"][tree["accessors"][accessor]["bufferView"]]["target"] = target
        _show_as_photographed(tree)
        nodes = [node for node in tree["nodes"] if "mesh" in node]  # some versions of trimesh add a frame of their own above
        below = list(range(len(nodes)))
        if origin.any():
            nodes.append({"name": f"{ROOT}_origin", "translation": origin.tolist(), "children": below})
            below = [len(nodes) - 1]
        nodes.append({"name": ROOT, "matrix": to_scene.T.ravel().tolist(), "children": below})  # column by column
        tree["nodes"] = nodes
        tree["scenes"][0] |= {"nodes": [len(nodes) - 1], "extras": {"world_to_scene": to_scene.tolist()}}

    if origin.any():
        for geometry in scene.geometry.values():
            geometry.apply_translation(-origin)
    return scene.export(file_type="glb", tree_postprocessor=arrange)


def _show_as_photographed(tree: dict[str, Any]) -> None:
    """Gives triangles unlit materials, drawn from both sides, and textures an end at their border."""
    for mesh in tree["meshes"]:
        for primitive in mesh["primitives"]:
            if primitive["mode"] == _TRIANGLES and "material" not in primitive:  # of colours at vertices; glTF's default is metal
                primitive["material"] = len(tree.setdefault("materials", []))
                tree["materials"].append({"pbrMetallicRoughness": {"metallicFactor": 0.0, "roughnessFactor": 1.0}})
    for material in tree.get("materials", ()):
        material |= {"doubleSided": True, "extensions": {"KHR_materials_unlit": {}}}
        tree["extensionsUsed"] = ["KHR_materials_unlit"]
    for texture in tree.get("textures", ()):
        texture["sampler"] = 0
        tree["samplers"] = [{"wrapS": _CLAMP_TO_EDGE, "wrapT": _CLAMP_TO_EDGE}]
