"""A part of a triangle mesh, whichever way it was made."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Surface:
    """V vertices and F triangles, in the prediction's world; from the side that was seen a triangle's corners run counter-clockwise."""

    name: str
    vertices: np.ndarray
    """(V, 3) float64."""
    triangles: np.ndarray
    """(F, 3) int64, indices of vertices."""
    colours: np.ndarray
    """(V, 3) uint8 sRGB."""
    uv: np.ndarray | None = None
    """(V, 2) float64, where a vertex lies in the texture: right and down as shares of its width and height, from its top left corner."""
    texture: np.ndarray | None = None
    """(H, W, 3) uint8 sRGB."""
