"""3D Gaussians as the PLY file that splatting programs read."""

from __future__ import annotations

import logging
import pathlib

import numpy as np

from da3jax.outputs.atomic import atomic
from da3jax.outputs.options import ExportOptions
from da3jax.outputs.ply_file import ply_header
from da3jax.types import Gaussians, Prediction

logger = logging.getLogger(__name__)

_NEAREST_TO_ONE = 1 - 2.0**-24
"""The largest float32 opacity below 1, whose logit is finite; as far from 0 is the smallest."""


def write_gs_ply(prediction: Prediction, export_dir: pathlib.Path, options: ExportOptions) -> list[pathlib.Path]:
    """Writes `gs_ply/0000.ply`: binary little-endian float32, in the fields and the order of 3D Gaussian splatting (Kerbl et al. 2023).

    | field          | what it holds                                                                                     |
    |----------------|---------------------------------------------------------------------------------------------------|
    | `x y z`        | centre, in the prediction's world, as its points, and at its scale                                |
    | `nx ny nz`     | 0                                                                                                 |
    | `f_dc_0..2`    | first harmonic of red, green and blue: the colour is 0.5 + 0.2821 · this + what the others add    |
    | `f_rest_0..23` | the other harmonics: 8 of red, 8 of green, 8 of blue; another number of each with `gs_sh_degree`  |
    | `opacity`      | its logit                                                                                         |
    | `scale_0..2`   | natural logarithm of the standard deviations                                                      |
    | `rot_0..3`     | unit quaternion wxyz, from the Gaussian's axes to the world's                                     |

    Left out are Gaussians at the borders (`gs_trim_border`), those beyond a view's `gs_depth_quantile`, hardly opaque ones
    (`gs_min_opacity`), sky, and what is not finite or behind its camera. The quantile is over a view's depths that are not sky, finite and
    positive. Of independent images, which have no common world, each has a file of its own, `gs_ply/0000.ply`, `gs_ply/0001.ply`, ...,
    in its camera's frame; one of which nothing is left has none, which is said in a warning.

    Args:
        prediction: with Gaussians.
        export_dir: the folder of `gs_ply`.
        options: those whose names begin with `gs_`.

    Raises:
        ValueError: no Gaussian is left.
    """
    keep = np.stack([_kept(prediction, view, options) for view in range(len(prediction.depth))])
    groups = [[view] for view in range(len(keep))]
    if prediction.extrinsics is not None:
        groups = [list(range(0, len(keep), options.gs_views_interval or max(len(keep) // 12, 1)))]
    if not any(keep[group].any() for group in groups):
        raise ValueError("gs_ply would be empty: no Gaussian is finite, in front of its camera, no sky, and within the gs_ options")
    paths = []
    for index, group in enumerate(groups):
        path = export_dir / "gs_ply" / f"{index:04d}.ply"
        count = np.count_nonzero(keep[group])
        if not count:
            there = "; what lies there is of an earlier export" if path.exists() else ""
            logger.warning("gs_ply/%s is left out: no Gaussian of image %d is left%s", path.name, index, there)
            continue
        with atomic(path) as temp, temp.open("wb") as file:
            file.write(_header(count, options.gs_sh_degree))
            for view in group:
                file.write(_rows(prediction.gaussians, view, keep[view], options.gs_sh_degree).tobytes())
        paths.append(path)
    return paths


def _kept(prediction: Prediction, view: int, options: ExportOptions) -> np.ndarray:
    """(H, W) bool, the Gaussians of a view that are written."""
    depth = prediction.depth[view]
    means, scales, rotations, harmonics, opacities = _of_view(prediction.gaussians, view)
    keep = np.isfinite(depth) & (depth > 0)
    if prediction.sky is not None:
        keep &= ~prediction.sky[view].astype(bool)
    if keep.any():
        keep &= depth <= np.quantile(depth[keep], options.gs_depth_quantile)
    rows, columns = (int(options.gs_trim_border * side) for side in depth.shape)
    inside = np.zeros_like(keep)
    inside[rows : len(inside) - rows, columns : inside.shape[1] - columns] = True
    keep &= inside & (opacities >= options.gs_min_opacity) & np.isfinite(opacities) & (scales > 0).all(axis=-1)
    keep &= np.isfinite(harmonics).all(axis=(-2, -1))
    for values in (means, scales, rotations):
        keep &= np.isfinite(values).all(axis=-1)
    return keep


def _of_view(gaussians: Gaussians, view: int) -> list[np.ndarray]:
    return [getattr(gaussians, name)[view] for name in ("means", "scales", "rotations", "harmonics", "opacities")]


def _header(count: int, degree: int) -> bytes:
    fields = [*"xyz", "nx", "ny", "nz", *_numbered("f_dc", 3), *_numbered("f_rest", 3 * ((degree + 1) ** 2 - 1)), "opacity"]
    return ply_header(count, dict.fromkeys([*fields, *_numbered("scale", 3), *_numbered("rot", 4)], "float"))


def _numbered(name: str, count: int) -> list[str]:
    return [f"{name}_{number}" for number in range(count)]


def _rows(gaussians: Gaussians, view: int, keep: np.ndarray, degree: int) -> np.ndarray:
    """(count, fields) little-endian float32, in the order of the header."""
    means, scales, rotations, harmonics, opacities = (values[keep] for values in _of_view(gaussians, view))
    terms = (degree + 1) ** 2
    rest = harmonics[:, :, 1:terms]
    rest = np.pad(rest, ((0, 0), (0, 0), (0, terms - 1 - rest.shape[2])))  # of degree 3, which the network does not have
    rest = rest.reshape(len(rest), 3 * (terms - 1))
    opacities = np.clip(opacities.astype(np.float64), 1 - _NEAREST_TO_ONE, _NEAREST_TO_ONE)
    logits = np.log(opacities) - np.log1p(-opacities)
    columns = (means, np.zeros_like(means), harmonics[:, :, 0], rest, logits[:, None], np.log(scales), rotations)
    return np.concatenate(columns, axis=1).astype("<f4")
