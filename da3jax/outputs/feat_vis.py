"""Features of the network as colours: their three principal components, beside the photographs."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np

from da3jax.config import PATCH_SIZE
from da3jax.outputs.atomic import write_bytes
from da3jax.outputs.cameras import view_sizes
from da3jax.outputs.image_file import encode_png
from da3jax.outputs.mp4 import encode_mp4
from da3jax.outputs.options import ExportOptions
from da3jax.types import Prediction

_FITTED = 1 << 15
"""Tokens, evenly spaced over all views, that decide the components and their scale where there are more."""

_CLIPPED = 10
"""Percent of the tokens that lie beyond either end of a colour, as officially."""

_NO_FEATURE = 128
"""The grey of tokens that are not finite, and of what the network has not seen."""


def write_feat_vis(prediction: Prediction, export_dir: pathlib.Path, options: ExportOptions) -> list[pathlib.Path]:
    """Writes `feat_vis/layer_I/0000.png` and so on, one a view, and `feat_vis/layer_I.mp4` of them, for each exported block I.

    A picture is the photograph, and to its right the features of `colour_features`, each token where and as large as its patch is; without
    photographs the features alone. The video shows `feat_vis_fps` of them a second, views of several sizes as in the prediction's arrays.

    Raises:
        ValueError: there are no features (`check_features`).
    """
    paths = []
    for layer, features in check_features(prediction).items():
        folder = export_dir / "feat_vis" / f"layer_{layer}"
        colours = colour_features(features)
        for view, size in enumerate(view_sizes(prediction)):
            paths.append(folder / f"{view:04d}.png")
            write_bytes(paths[-1], encode_png(_picture(prediction, colours, view, size)))
        pictures = (_picture(prediction, colours, view, prediction.depth.shape[1:]) for view in range(len(colours)))
        paths.append(folder.with_name(f"{folder.name}.mp4"))
        write_bytes(paths[-1], encode_mp4(pictures, options.feat_vis_fps))
    return paths


def check_features(prediction: Prediction) -> dict[int, np.ndarray]:
    """The features (N, h, w, C) of a prediction by block, ascending.

    Raises:
        ValueError: there are none, or some of another shape.
    """
    prefix = "feat_layer_"
    layers = {int(name.removeprefix(prefix)): features for name, features in prediction.aux.items() if name.startswith(prefix)}
    if not layers:
        raise ValueError(
            "export format 'feat_vis' needs features, and the prediction has none; export_feat_layers (--export-feat on the command line) "
            "asks for those of the blocks that it names"
        )
    views = len(prediction.depth)
    for layer, features in layers.items():
        if features.ndim != 4 or len(features) != views or 0 in features.shape:
            raise ValueError(f"{prefix}{layer} has the shape {features.shape}; for {views} views it is ({views}, h, w, C), none of them 0")
    return dict(sorted(layers.items()))


def colour_features(features: np.ndarray) -> np.ndarray:
    """The first three principal components as red, green and blue, the same in all views.

    Components, centre and scale are those of the tokens of all views together. Each component is stretched between its 10th and 90th
    percentile, and points to where the channel in which it is strongest grows: so the colours do not depend on chance. A component
    that is missing or constant is half lit; a token that is not finite is grey and does not count.

    Args:
        features: (N, h, w, C) of any float type.

    Returns:
        (N, h, w, 3) uint8.
    """
    channels = features.shape[-1]
    tokens = features.reshape(-1, channels)
    fitted = tokens[:: max(1, len(tokens) // _FITTED)].astype(np.float32)
    fitted = fitted[np.isfinite(fitted).all(axis=1)]
    axes, centre = np.zeros((channels, 3)), np.zeros(channels)
    low, high = np.zeros(3), np.zeros(3)
    if len(fitted):
        centre = fitted.mean(axis=0, dtype=np.float64)
        fitted = fitted - centre.astype(np.float32)
        _, vectors = np.linalg.eigh((fitted.T @ fitted).astype(np.float64))  # ascending
        strongest = vectors[:, ::-1][:, :3]
        signs = np.sign(strongest[np.abs(strongest).argmax(axis=0), np.arange(strongest.shape[1])])
        axes[:, : strongest.shape[1]] = strongest * signs
        low, high = np.percentile(fitted @ axes, (_CLIPPED, 100 - _CLIPPED), axis=0)
    extent = high - low
    flat = extent <= 1e-5 * max(extent.max(), np.abs(centre).max())  # what is left is rounding

    colours = np.full((*features.shape[:3], 3), _NO_FEATURE, np.uint8)
    for view, picture in zip(features, colours, strict=True):
        view = view.astype(np.float64)
        finite = np.isfinite(view).all(axis=-1)
        t = np.clip(((view[finite] - centre) @ axes - low) / np.where(flat, 1, extent), 0, 1)
        picture[finite] = np.round(255 * np.where(flat, 0.5, t))
    return colours


def _picture(prediction: Prediction, colours: np.ndarray, view: int, size: Sequence[int]) -> np.ndarray:
    """A view's photograph, cut to a size, and its features (N, h, w, 3) at the same size to the right."""
    tokens = colours.shape[1:3]
    if prediction.network_from_image is None:
        scale, shift = np.divide(tokens, prediction.depth.shape[1:]), np.zeros(2)
    else:
        to_network = prediction.network_from_image[view]
        scale, shift = np.diag(to_network)[1::-1] / PATCH_SIZE, to_network[1::-1, 2] / PATCH_SIZE
    rows, columns = (np.floor(scale[i] * (np.arange(size[i]) + 0.5) + shift[i]).astype(int) for i in range(2))
    framed = np.pad(colours[view], ((1, 1), (1, 1), (0, 0)), constant_values=_NO_FEATURE)
    rows, columns = (np.clip(index + 1, 0, count + 1) for index, count in zip((rows, columns), tokens, strict=True))
    enlarged = framed[rows[:, None], columns]
    if prediction.processed_images is None:
        return enlarged
    return np.concatenate([prediction.processed_images[view, : size[0], : size[1]], enlarged], axis=1)
