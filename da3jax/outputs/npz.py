"""A prediction as NumPy archives, under the official names and nothing rounded."""

from __future__ import annotations

import pathlib

import numpy as np

from da3jax.geometry import Alignment
from da3jax.outputs.atomic import atomic
from da3jax.outputs.options import ExportOptions
from da3jax.types import Prediction


def write_npz(prediction: Prediction, export_dir: pathlib.Path, options: ExportOptions) -> list[pathlib.Path]:
    """Writes every field of the prediction but points to `exports/npz/results.npz`.

    The archive holds `image` (N, H, W, 3) uint8, `depth`, `conf`, `extrinsics` (world-to-camera), `intrinsics` (pixels), `sky`,
    `ray`, `ray_conf`, `ray_residual`, `from_image`, `image_sizes`, `network_from_image`, `is_metric`, `scale_factor`,
    `scale_residual`, `conditioned` (names joined by commas), `gaussians_means`, `gaussians_scales`, `gaussians_rotations`,
    `gaussians_harmonics`, `gaussians_opacities`, `alignment_scale`, `alignment_rotation`, `alignment_translation`, `alignment_residual`,
    `alignment_inliers`, `alignment_scale_determined`, `alignment_rotation_determined`, and the entries of `aux`, shaped as in
    `Prediction` and `Gaussians`; what is None is left out.
    It loads with `allow_pickle=False`.
    """
    return _write(_fields(prediction), export_dir / "exports" / "npz" / "results.npz")


def write_mini_npz(prediction: Prediction, export_dir: pathlib.Path, options: ExportOptions) -> list[pathlib.Path]:
    """Writes what `write_npz` does, less `image`, features and Gaussians, to `exports/mini_npz/results.npz`."""
    large = ("feat_layer_", "gaussians_")
    small = {name: value for name, value in _fields(prediction).items() if name != "image" and not name.startswith(large)}
    return _write(small, export_dir / "exports" / "mini_npz" / "results.npz")


def _fields(prediction: Prediction) -> dict[str, np.ndarray]:
    fields = {
        "image": prediction.processed_images,
        "depth": prediction.depth,
        "conf": prediction.conf,
        "extrinsics": prediction.extrinsics,
        "intrinsics": prediction.intrinsics,
        "sky": prediction.sky,
        "ray": prediction.ray,
        "ray_conf": prediction.ray_conf,
        "ray_residual": prediction.ray_residual,
        "from_image": prediction.from_image,
        "image_sizes": prediction.image_sizes,
        "network_from_image": prediction.network_from_image,
        "is_metric": prediction.is_metric,
        "scale_factor": prediction.scale_factor,
        "scale_residual": prediction.scale_residual,
        "conditioned": ",".join(prediction.conditioned) or None,
        **({} if prediction.gaussians is None else {f"gaussians_{name}": value for name, value in vars(prediction.gaussians).items()}),
        **_alignment(prediction.alignment),
        **prediction.aux,
    }
    arrays = {name: np.asarray(value) for name, value in fields.items() if value is not None}
    # bfloat16 is no type of NumPy's own: a reader would find bare bytes. float32 holds each of its values.
    return {name: array.astype(np.float32) if array.dtype.kind == "V" else array for name, array in arrays.items()}


def _alignment(alignment: Alignment | None) -> dict[str, np.ndarray]:
    if alignment is None:
        return {}
    fields = {**vars(alignment), **vars(alignment.similarity)}
    del fields["similarity"]
    return {f"alignment_{name}": value for name, value in fields.items()}


def _write(fields: dict[str, np.ndarray], path: pathlib.Path) -> list[pathlib.Path]:
    with atomic(path) as temp:
        np.savez_compressed(temp, **fields)
    return [path]
