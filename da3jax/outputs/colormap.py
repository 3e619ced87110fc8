"""One colour map: dark blue to bright yellow through magenta and orange, with even steps of lightness."""

from __future__ import annotations

import functools

import numpy as np

_CHROMA = (0.10, 0.155, 0.19, 0.145, 0.10)
"""At equal distances along the map; as strong as sRGB allows at each lightness and hue, with a margin."""

# OKLab (Björn Ottosson, 2020): Lab to cube roots of cone responses, cone responses to linear sRGB.
_LAB_TO_CONES = np.array([[1, 0.3963377774, 0.2158037573], [1, -0.1055613458, -0.0638541728], [1, -0.0894841775, -1.2914855480]])
_CONES_TO_RGB = np.array(
    [
        [4.0767416621, -3.3077115913, 0.2309699292],
        [-1.2684380046, 2.6097574011, -0.3413193965],
        [-0.0041960863, -0.7034186147, 1.7076147010],
    ]
)


@functools.cache
def table() -> np.ndarray:
    """The colours (256, 3) in sRGB uint8: cold and dark first, warm and bright last.

    A path through OKLab: lightness and hue grow linearly, so that the order of values is seen even in grey and no false edge appears.
    """
    t = np.linspace(0, 1, 256)
    lightness = 0.22 + 0.73 * t
    hue = np.radians(275 + 185 * t)
    chroma = np.interp(t, np.linspace(0, 1, len(_CHROMA)), _CHROMA)
    lab = np.stack([lightness, chroma * np.cos(hue), chroma * np.sin(hue)], axis=-1)
    linear = (lab @ _LAB_TO_CONES.T) ** 3 @ _CONES_TO_RGB.T
    encoded = np.where(linear <= 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    return np.round(255 * encoded).astype(np.uint8)
