"""Cameras that the caller knows -> one array of matrices, a view without one NaN; what cannot be a camera is refused, naming the view.

Conventions as everywhere (`da3jax.geometry`): world-to-camera, OpenCV's axes, pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from da3jax.geometry import rotation_defect
from da3jax.types import Array

Matrices = Sequence[Array | None] | Array | None
"""One matrix a view; None in a list is a view whose camera is not known."""

RIGID_TOLERANCE = 5e-3
"""How far R Rᵀ may be from the identity: poses in text files are rounded."""

_ROUNDING = 1e-5  # of entries that are 0 or 1
_LARGEST = np.finfo(np.float32).max  # the type that the network takes


def check_extrinsics(extrinsics: Matrices, names: Sequence[str]) -> np.ndarray | None:
    """Known poses of some or all views.

    Args:
        extrinsics: S world-to-camera matrices of (3, 4) or (4, 4), mixed as you like, as an array or a list; None in the list for a view
            whose pose is not known.
        names: of the S images, for messages.

    Returns:
        (S, 3, 4), NaN where not known, float32 if all poses came so and else float64; None if no pose is known.

    Raises:
        ValueError: a wrong count, shape or type; a value that is not finite; a matrix that is not a rotation beside a translation. The
            message names the view.
    """
    views = _check("extrinsics", extrinsics, ((3, 4), (4, 4)), names, _check_pose)
    # The type says how exact they are, on which it depends what counts as a baseline.
    types = {getattr(matrix, "dtype", None) for matrix in (() if extrinsics is None else extrinsics) if matrix is not None}
    return views.astype(np.float32) if types == {np.dtype(np.float32)} else views


def check_intrinsics(intrinsics: Matrices, names: Sequence[str]) -> np.ndarray | None:
    """Known intrinsics of some or all views.

    Args:
        intrinsics: S matrices of (3, 3) [[fx, skew, cx], [0, fy, cy], [0, 0, 1]] in pixels, as an array or a list; None in the list for
            a view whose intrinsics are not known.
        names: of the S images, for messages.

    Returns:
        (S, 3, 3) float64, NaN where not known; None if none are.

    Raises:
        ValueError: a wrong count, shape or type; a value that is not finite; a matrix of another form. The message names the view.
    """
    return _check("intrinsics", intrinsics, ((3, 3),), names, _check_pinhole)


def _check(what: str, matrices: Matrices, shapes: tuple[tuple[int, int], ...], names: Sequence[str], check: Callable) -> np.ndarray | None:
    """The first three rows of each of `matrices`, after checking what cameras have in common and then `check(matrix, where)`."""
    if matrices is None:
        return None
    expected = "their shape is " + " or ".join(f"({len(names)}, {rows}, {columns})" for rows, columns in shapes)
    try:
        matrices = list(matrices)
    except TypeError:
        raise ValueError(f"{what} are of type {type(matrices).__name__}; {expected}") from None
    if len(matrices) != len(names):
        raise ValueError(f"{what} have {len(matrices)} entries for {len(names)} images; {expected}, with None in a list for no camera")
    views = np.full((len(names), 3, shapes[0][1]), np.nan)
    for index, (matrix, name) in enumerate(zip(matrices, names, strict=True)):
        if matrix is None:
            continue
        where = f"{what} of view {index} ({name})"
        try:
            matrix = np.asarray(matrix)
        except (TypeError, ValueError, RuntimeError):  # ragged, or a tensor of another library that will not be read
            raise ValueError(f"{where} are not a matrix of numbers; {expected}") from None
        if matrix.dtype.kind not in "iuf":
            raise ValueError(f"{where} are of type {matrix.dtype}; they should be real numbers")
        if matrix.shape not in shapes:
            raise ValueError(f"{where} are of shape {matrix.shape}; {expected}")
        matrix = matrix.astype(np.float64)
        if not (finite := np.abs(matrix) <= _LARGEST).all():
            position = tuple(np.argwhere(~finite)[0].tolist())
            raise ValueError(
                f"{where} are {matrix[position]} at {list(position)}; they should be finite float32 numbers, "
                f"and a view whose camera is not known is None in a list"
            )
        check(matrix, where)
        views[index] = matrix[:3]
    return None if all(matrix is None for matrix in matrices) else views


def _check_pose(matrix: np.ndarray, where: str) -> None:
    if len(matrix) == 4:
        _check_last_row(matrix, where)
    rotation = matrix[:, :3][:3]
    deviation = rotation_defect(rotation)
    scale = np.cbrt(abs(np.linalg.det(rotation)))
    if deviation > RIGID_TOLERANCE and scale > 0 and rotation_defect(rotation / scale) <= min(RIGID_TOLERANCE, deviation / 10):
        raise ValueError(
            f"{where} are scaled: their rotation part is {scale:.6g} times a rotation; extrinsics have no scale, "
            f"so their first three rows should be divided by it"
        )
    if deviation > RIGID_TOLERANCE:
        raise ValueError(
            f"{where} are not rigid: R Rᵀ of their rotation part R is up to {deviation:.3g} off the identity; "
            f"R should be a rotation to {RIGID_TOLERANCE:g}"
        )
    if np.linalg.det(rotation) < 0:
        raise ValueError(
            f"{where} are left-handed: the determinant of their rotation part is -1 and should be 1; axes are OpenCV's "
            f"(x right, y down, z forward), and da3jax.geometry.extrinsics_from_opengl and its like convert others"
        )


def _check_pinhole(matrix: np.ndarray, where: str) -> None:
    _check_last_row(matrix, where)
    fx, fy = matrix[0, 0], matrix[1, 1]
    if fx <= 0 or fy <= 0:
        raise ValueError(f"{where} have focal lengths of {fx:g} and {fy:g} (entries [0, 0] and [1, 1]); they should be positive")
    if max(fx, fy) < 5 and 0 <= matrix[:2, 2].min() <= matrix[:2, 2].max() <= 1:
        raise ValueError(
            f"{where} look normalised: focal lengths of {fx:g} and {fy:g}, a principal point within 1; they should be in pixels, "
            f"which the first row times the image's width and the second times its height are"
        )
    if abs(matrix[1, 0]) > _ROUNDING * fy:
        raise ValueError(f"{where} are {matrix[1, 0]:g} at [1, 0], which should be 0: the skew, if any, is at [0, 1]")


def _check_last_row(matrix: np.ndarray, where: str) -> None:
    expected = np.eye(len(matrix))[-1]
    if np.abs(matrix[-1] - expected).max() <= _ROUNDING:
        return
    transposed = np.abs(matrix[:, -1] - expected).max() <= _ROUNDING
    hint = ": the matrix looks transposed" if transposed else ""
    row, right = (" ".join(f"{value:g}" for value in values) for values in (matrix[-1], expected))
    raise ValueError(f"{where} end in a row of {row}, which should be {right}{hint}")
