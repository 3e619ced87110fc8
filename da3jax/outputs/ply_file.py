"""Points and triangles as the bytes of a PLY file, binary and little-endian."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from da3jax.outputs.points import float32_origin


def encode_ply(points: np.ndarray, colours: np.ndarray, triangles: np.ndarray | None = None, *, is_metric: bool) -> bytes:
    """Coloured points, and the triangles between them: `x y z`, `red green blue` as bytes, `vertex_indices`.

    Coordinates are `float`, and `double` where float would move points by more than a millionth of the scene, as when known cameras
    stand far from the origin (`points.float32_origin`).

    Args:
        points: (P, 3) in the prediction's world.
        colours: (P, 3) uint8 sRGB.
        triangles: (F, 3) indices of points.
        is_metric: whether the unit is the metre, which a comment says.
    """
    number, name = ("<f8", "double") if float32_origin(points).any() else ("<f4", "float")
    vertices = np.empty(len(points), [("position", number, 3), ("colour", "u1", 3)])  # packed
    vertices["position"], vertices["colour"] = points, colours
    faces = np.empty(0 if triangles is None else len(triangles), [("count", "u1"), ("corners", "<i4", 3)])
    if triangles is not None:
        faces["count"], faces["corners"] = 3, triangles
    header = ply_header(
        len(vertices),
        dict.fromkeys("xyz", name) | dict.fromkeys(("red", "green", "blue"), "uchar"),
        triangles=None if triangles is None else len(faces),
        comment=f"x right, y down, z forward; {'metres' if is_metric else 'unit unknown'}",
    )
    return header + vertices.tobytes() + faces.tobytes()


def ply_header(vertices: int, properties: Mapping[str, str], *, triangles: int | None = None, comment: str = "") -> bytes:
    """What stands before so many vertices with these properties, by name their types in PLY, and triangles behind them."""
    lines = ["ply", "format binary_little_endian 1.0", *([f"comment {comment}"] if comment else []), f"element vertex {vertices}"]
    lines += [f"property {kind} {name}" for name, kind in properties.items()]
    if triangles is not None:
        lines += [f"element face {triangles}", "property list uchar int vertex_indices"]
    return "\n".join([*lines, "end_header\n"]).encode("ascii")
