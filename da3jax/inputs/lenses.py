"""Camera models: from a direction before the camera to the pixel that sees it, and back.

A direction is a point (x, y) of the plane z = 1 before the camera (x right, y down); the first pixel's centre is (0.5, 0.5). Fisheye
models first turn it into (θ cos φ, θ sin φ), θ being its angle from the axis and φ the one around it.

Source: COLMAP's documentation, "Camera Models", and its `sensor/models.h` for the formulas of each.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np

from da3jax.schema import one_of

_LARGEST_SIDE = 2**31  # pixels; more is damage
_Pair = tuple[np.ndarray, np.ndarray]


@dataclasses.dataclass(frozen=True)
class Lens:
    """A camera of any model, hashable, so that what is computed for it can be kept."""

    model: str
    """One of `MODELS`."""
    width: int
    """Pixels of the images that it takes."""
    height: int
    focal: tuple[float, float]
    """fx and fy in pixels."""
    centre: tuple[float, float]
    """The principal point, x before y, in pixels."""
    distortion: tuple[float, ...] = ()
    """The model's further parameters, in COLMAP's order."""

    @property
    def is_pinhole(self) -> bool:
        """Whether it images straight lines as such, and needs no undistortion."""
        neutral = MODELS[self.model].neutral
        return neutral is not None and all(value == 0 for value, counts in zip(self.distortion, neutral, strict=True) if counts)

    @property
    def intrinsics(self) -> np.ndarray:
        """(3, 3) float64 of the focal lengths and the principal point alone."""
        (fx, fy), (cx, cy) = self.focal, self.centre
        return np.array([[fx, 0, cx], [0, fy, cy], [0, 0, 1]], np.float64)

    def scaled(self, width: int, height: int) -> Lens:
        """The same lens, for its images resized to `width` × `height`."""
        x, y = width / self.width, height / self.height
        focal, centre = (self.focal[0] * x, self.focal[1] * y), (self.centre[0] * x, self.centre[1] * y)
        return dataclasses.replace(self, width=width, height=height, focal=focal, centre=centre)


def lens(model: str, width: int, height: int, parameters: Sequence[float], where: str) -> Lens:
    """A lens by what COLMAP stores of it.

    Args:
        model: its model's name.
        width: of the images, in pixels.
        height: of the images.
        parameters: one or two focal lengths, the principal point, then what the model has beside them.
        where: what messages call it.

    Raises:
        ValueError: an unknown model, or one that has no focal length; a wrong number of parameters; one that is not finite; a size or a
            focal length that is not positive.
    """
    if model == "EQUIRECTANGULAR":
        raise ValueError(f"{where} is EQUIRECTANGULAR, a panorama, which no one pinhole picture can show; it should be cut into several")
    one_of(f"the model of {where}", model, MODELS)
    if len(parameters) != parameter_count(model):
        raise ValueError(f"{where} is {model} with {len(parameters)} parameters; it has {parameter_count(model)}")
    if not (np.abs(parameters) <= np.finfo(np.float32).max).all():
        raise ValueError(
            f"{where} has the parameters {', '.join(f'{value:g}' for value in parameters)}; they should be finite float32 numbers"
        )
    focals = MODELS[model].focals
    focal, centre, distortion = (*parameters[:focals], *parameters[:focals])[:2], parameters[focals : focals + 2], parameters[focals + 2 :]
    if not 1 <= min(width, height) <= max(width, height) <= _LARGEST_SIDE or min(focal) <= 0:
        raise ValueError(
            f"{where} is for images of {width} × {height} pixels (W × H), with focal lengths of {focal[0]:g} and {focal[1]:g}; "
            f"all of these should be positive, and the size that of an image"
        )
    return Lens(model, width, height, tuple(map(float, focal)), tuple(map(float, centre)), tuple(map(float, distortion)))


def parameter_count(model: str) -> int:
    """How many parameters COLMAP stores of a camera of this model."""
    return MODELS[model].focals + 2 + MODELS[model].further


def pixels_from_plane(lens: Lens, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pixels, as x and y float64, that see the points (x, y) of the plane z = 1; NaN where the lens sees none."""
    kind = MODELS[lens.model]
    with np.errstate(all="ignore"):  # outside of what the lens sees anything may happen
        x, y = kind.distort(*(_fisheye_from_plane(x, y) if kind.fisheye else (x, y)), lens.distortion)
        return x * lens.focal[0] + lens.centre[0], y * lens.focal[1] + lens.centre[1]


def plane_from_pixels(lens: Lens, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Points of the plane z = 1, as x and y float64, that the pixels (x, y) see; NaN where that is nothing before the camera."""
    kind = MODELS[lens.model]
    with np.errstate(all="ignore"):
        x, y = (x - lens.centre[0]) / lens.focal[0], (y - lens.centre[1]) / lens.focal[1]
        x, y = kind.undistort(x, y, lens.distortion) if kind.undistort else _invert(kind.distort, x, y, lens.distortion)
        return _plane_from_fisheye(x, y) if kind.fisheye else (x, y)


def _fisheye_from_plane(x: np.ndarray, y: np.ndarray) -> _Pair:
    radius = np.hypot(x, y)
    scale = np.where(radius > 1e-12, np.arctan(radius) / np.where(radius > 1e-12, radius, 1), 1)
    return x * scale, y * scale


def _plane_from_fisheye(x: np.ndarray, y: np.ndarray) -> _Pair:
    angle = np.hypot(x, y)
    scale = np.where(angle > 1e-12, np.tan(angle) / np.where(angle > 1e-12, angle, 1), 1)
    scale = np.where(angle < np.pi / 2, scale, np.nan)
    return x * scale, y * scale


def _invert(distort: Callable, x: np.ndarray, y: np.ndarray, k: tuple[float, ...]) -> _Pair:
    """Where `distort` is (x, y), by Newton's method from there; NaN where it does not come near in 50 steps of limited length."""
    step = 1e-6
    u, v = x.copy(), y.copy()
    for _ in range(50):
        at, right, left = distort(u, v, k), distort(u + step, v, k), distort(u - step, v, k)
        below, above = distort(u, v + step, k), distort(u, v - step, k)
        xu, yu, xv, yv = (right[0] - left[0], right[1] - left[1], below[0] - above[0], below[1] - above[1])
        determinant = (xu * yv - xv * yu) / (2 * step)
        du = ((x - at[0]) * yv - (y - at[1]) * xv) / determinant
        dv = ((y - at[1]) * xu - (x - at[0]) * yu) / determinant
        length = np.hypot(du, dv)
        limit = np.minimum(1, np.maximum(0.1, 0.1 * np.hypot(u, v)) / np.maximum(length, 1e-300))
        u, v = u + du * limit, v + dv * limit
        if not np.nanmax(length, initial=0) > 1e-13:  # it is as near as rounding lets it
            break
    at = distort(u, v, k)
    found = np.hypot(at[0] - x, at[1] - y) <= 1e-9 * (1 + np.hypot(x, y))
    return np.where(found, u, np.nan), np.where(found, v, np.nan)


# What follows is distorted = distort(x, y, further parameters), of points of the plane or of the fisheye's (θ cos φ, θ sin φ).


def _none(x: np.ndarray, y: np.ndarray, k: tuple[float, ...]) -> _Pair:
    return x, y


def _radial(x: np.ndarray, y: np.ndarray, k: tuple[float, ...]) -> _Pair:
    """1 + k₁r² + k₂r⁴ + …"""
    square = x * x + y * y
    factor = np.zeros_like(square)
    for value in reversed(k):
        factor = (factor + value) * square
    return x * (1 + factor), y * (1 + factor)


def _bent(x: np.ndarray, y: np.ndarray, p: tuple[float, ...]) -> _Pair:
    """What a lens that is not centred adds: tangential distortion."""
    square = x * x + y * y
    return 2 * p[0] * x * y + p[1] * (square + 2 * x * x), 2 * p[1] * x * y + p[0] * (square + 2 * y * y)


def _opencv(x: np.ndarray, y: np.ndarray, k: tuple[float, ...]) -> _Pair:
    (a, b), (c, d) = _radial(x, y, k[:2]), _bent(x, y, k[2:])
    return a + c, b + d


def _full_opencv(x: np.ndarray, y: np.ndarray, k: tuple[float, ...]) -> _Pair:
    square = x * x + y * y
    above = 1 + square * (k[0] + square * (k[1] + square * k[4]))
    below = 1 + square * (k[5] + square * (k[6] + square * k[7]))
    factor = np.where(below > 0, above / below, np.nan)
    c, d = _bent(x, y, k[2:4])
    return x * factor + c, y * factor + d


def _thin_prism(x: np.ndarray, y: np.ndarray, k: tuple[float, ...]) -> _Pair:
    (a, b), (c, d) = _radial(x, y, (*k[:2], *k[4:6])), _bent(x, y, k[2:4])
    square = x * x + y * y
    return a + c + k[6] * square, b + d + k[7] * square


def _rad_tan_thin_prism(x: np.ndarray, y: np.ndarray, k: tuple[float, ...]) -> _Pair:
    x, y = _radial(x, y, k[:6])
    c, d = _bent(x, y, (k[7], k[6]))  # in this model the first bends along x
    square = x * x + y * y
    return x + c + square * (k[8] + square * k[9]), y + d + square * (k[10] + square * k[11])


def _field_of_view(x: np.ndarray, y: np.ndarray, k: tuple[float, ...]) -> _Pair:
    """arctan(2 r tan(ω/2)) / ω in place of the radius r."""
    radius, slope = np.hypot(x, y), 2 * np.tan(k[0] / 2)
    if abs(k[0]) < 1e-8:
        return x, y
    factor = np.where(radius > 1e-12, np.arctan(radius * slope) / (np.maximum(radius, 1e-12) * k[0]), slope / k[0])
    return x * factor, y * factor


def _from_field_of_view(x: np.ndarray, y: np.ndarray, k: tuple[float, ...]) -> _Pair:
    radius, slope = np.hypot(x, y), 2 * np.tan(k[0] / 2)
    if abs(k[0]) < 1e-8:
        return x, y
    factor = np.where(radius > 1e-12, np.tan(radius * k[0]) / (np.maximum(radius, 1e-12) * slope), k[0] / slope)
    factor = np.where(radius * abs(k[0]) < np.pi / 2, factor, np.nan)
    return x * factor, y * factor


def _division(x: np.ndarray, y: np.ndarray, k: tuple[float, ...]) -> _Pair:
    factor = 2 / (1 + np.sqrt(1 - 4 * k[0] * (x * x + y * y)))
    return x * factor, y * factor


def _from_division(x: np.ndarray, y: np.ndarray, k: tuple[float, ...]) -> _Pair:
    factor = 1 + k[0] * (x * x + y * y)
    return tuple(np.where(factor > 0, value / factor, np.nan) for value in (x, y))


def _eucm(x: np.ndarray, y: np.ndarray, k: tuple[float, ...]) -> _Pair:
    """The enhanced unified camera model, of α and β."""
    factor = k[0] * np.sqrt(k[1] * (x * x + y * y) + 1) + 1 - k[0]
    return tuple(np.where(factor > 0, value / factor, np.nan) for value in (x, y))


def _from_eucm(x: np.ndarray, y: np.ndarray, k: tuple[float, ...]) -> _Pair:
    square = x * x + y * y
    below = k[0] * np.sqrt(1 - (2 * k[0] - 1) * k[1] * square) + 1 - k[0]
    factor = (1 - k[0] * k[0] * k[1] * square) / np.where(below > 0, below, np.nan)
    return tuple(np.where(factor > 0, value / factor, np.nan) for value in (x, y))


@dataclasses.dataclass(frozen=True)
class Model:
    """What is known of a camera model."""

    number: int
    """In binary files."""
    focals: int
    """1 or 2 focal lengths."""
    further: int
    """Parameters after the principal point."""
    distort: Callable[[np.ndarray, np.ndarray, tuple[float, ...]], _Pair]
    fisheye: bool = False
    undistort: Callable[[np.ndarray, np.ndarray, tuple[float, ...]], _Pair] | None = None
    """The inverse of `distort` where it has a formula."""

    @property
    def neutral(self) -> tuple[bool, ...] | None:
        """Which of the further parameters must be 0 for it to be a pinhole; None: it is never one."""
        if self.fisheye:
            return None
        return (True, False) if self.distort is _eucm else (True,) * self.further


MODELS = {
    "SIMPLE_PINHOLE": Model(0, 1, 0, _none, undistort=_none),
    "PINHOLE": Model(1, 2, 0, _none, undistort=_none),
    "SIMPLE_RADIAL": Model(2, 1, 1, _radial),
    "RADIAL": Model(3, 1, 2, _radial),
    "OPENCV": Model(4, 2, 4, _opencv),
    "OPENCV_FISHEYE": Model(5, 2, 4, _radial, fisheye=True),
    "FULL_OPENCV": Model(6, 2, 8, _full_opencv),
    "FOV": Model(7, 2, 1, _field_of_view, undistort=_from_field_of_view),
    "SIMPLE_RADIAL_FISHEYE": Model(8, 1, 1, _radial, fisheye=True),
    "RADIAL_FISHEYE": Model(9, 1, 2, _radial, fisheye=True),
    "THIN_PRISM_FISHEYE": Model(10, 2, 8, _thin_prism, fisheye=True),
    "RAD_TAN_THIN_PRISM_FISHEYE": Model(11, 2, 12, _rad_tan_thin_prism, fisheye=True),
    "SIMPLE_DIVISION": Model(12, 1, 1, _division, undistort=_from_division),
    "DIVISION": Model(13, 2, 1, _division, undistort=_from_division),
    "SIMPLE_FISHEYE": Model(14, 1, 0, _none, fisheye=True, undistort=_none),
    "FISHEYE": Model(15, 2, 0, _none, fisheye=True, undistort=_none),
    "EUCM": Model(16, 2, 2, _eucm, undistort=_from_eucm),
}
"""COLMAP's camera models by name; not the panoramas of EQUIRECTANGULAR, number 17, whose two parameters are their size."""
