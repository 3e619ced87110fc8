"""Samples of a folder of scenes."""

from __future__ import annotations

import itertools
import pathlib
from collections.abc import Iterator
from typing import Any

import numpy as np

from da3jax.training.data.config import AugmentConfig, FolderConfig
from da3jax.training.data.plan import SAMPLES, shuffled
from da3jax.training.data.scene_folder import lacks, open_scene, read_views
from da3jax.training.data.view import crop_and_resize, mirror, quarter_turn, relative_to_first

MOST_BROKEN = 32
"""Draws in a row that may be broken before a run ends."""


class TooManyBrokenError(ValueError):
    """There was no usable sample in `MOST_BROKEN` draws, or all scenes have too few images."""


class _TooFewImagesError(ValueError):
    """A scene is whole, and a batch takes more views than it has."""


def list_scenes(config: FolderConfig) -> list[pathlib.Path]:
    """The scenes of a folder in the order of their names: its subfolders that have `images`.

    Raises:
        OSError: the folder is not there, is a file, or cannot be read.
        ValueError: there is no scene in it, or none has depth and cameras.
    """
    folder = pathlib.Path(config.path)
    if not folder.exists():
        raise FileNotFoundError(f"{folder} does not exist; it should be a folder that holds a folder for each scene")
    if not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; it should be a folder that holds a folder for each scene")
    scenes = sorted(path for path in folder.iterdir() if not path.name.startswith(".") and (path / "images").is_dir())
    if not scenes:
        raise ValueError(f"{folder} has no scenes: none of its folders has a folder named images")
    missing = [lacks(scene, config.labelled) for scene in scenes]
    if all(missing):
        raise ValueError(f"{folder} has no scene to learn from: {scenes[0].name}, the first of {len(scenes)}, has no {missing[0]}")
    return scenes


def load_sample(
    scenes: list[pathlib.Path],
    config: FolderConfig,
    augment: AugmentConfig,
    views: int,
    size: tuple[int, int],
    *,
    seed: int,
    source: int,
    position: int,
) -> tuple[dict[str, np.ndarray], list[str]]:
    """The sample at a place of a source's endless sequence, as arrays by name of field, and a sentence for each broken one before it.

    A broken sample, or one of a scene with too few images, is replaced by another scene until one is whole: by all of them in random
    order, and again.

    Raises:
        TooManyBrokenError: after `MOST_BROKEN` broken ones, or when no scene has enough images.
    """
    skipped, short, broken = [], set(), 0
    first = shuffled(seed, source, position, len(scenes))
    others = _all_again(np.random.default_rng([seed, SAMPLES, source, position]), len(scenes))
    for attempt, index in enumerate(itertools.chain([first], others)):
        if index in short:
            continue
        rng = np.random.default_rng([seed, SAMPLES, source, position, attempt])
        try:
            return _load(scenes[index], config, augment, views, size, rng), skipped
        except Exception as error:  # whatever a file can do to its decoder: an exception here would end the stream
            skipped.append(f"the scene {scenes[index]} is left out: {error or type(error).__name__}")
            if isinstance(error, _TooFewImagesError):
                short.add(index)
            else:
                broken += 1
        if broken == MOST_BROKEN:
            raise TooManyBrokenError(f"{config.path}: {MOST_BROKEN} samples in a row are broken; the last one: {skipped[-1]}")
        if len(short) == len(scenes):
            raise TooManyBrokenError(f"{config.path}: none of {len(scenes)} scenes has {views} images; the last one: {skipped[-1]}")


def _all_again(rng: np.random.Generator, count: int) -> Iterator[int]:
    """Numbers below `count` without end: all in random order, and then all again in another."""
    while True:
        yield from rng.permutation(count).tolist()


def draw_views(rng: np.random.Generator, count: int, views: int, window: int) -> list[int]:
    """Which of `count` images make up a sample: `views` of the `window` around a random one, in random order."""
    window = min(max(window, views), count)
    begin = int(np.clip(rng.integers(count) - window // 2, 0, count - window))
    return [begin + int(index) for index in rng.choice(window, views, replace=False)]


def _load(
    path: pathlib.Path, config: FolderConfig, augment: AugmentConfig, views: int, size: tuple[int, int], rng: np.random.Generator
) -> dict[str, Any]:
    scene = open_scene(path, config.labelled)
    if len(scene.images) < views:
        raise _TooFewImagesError(f"it has {len(scene.images)} images with a camera; this batch needs {views}")
    chosen = read_views(scene, draw_views(rng, len(scene.images), views, config.window), config.depth_scale)
    scale, mirrored, turned, clockwise = rng.uniform(*augment.crop), *(rng.random(3) < (augment.flip, augment.quarter_turn, 0.5))
    done = []
    for view in chosen:
        if mirrored:
            view = mirror(view)
        for _ in range((3 if clockwise else 1) if turned else 0):
            view = quarter_turn(view)
        done.append(crop_and_resize(view, size, scale, tuple(augment.crop_shift * rng.uniform(-1, 1, 2))))
    depth = np.stack([view.depth for view in done])
    if config.labelled and not depth.any():
        raise ValueError("no depth is known inside the crops of its views")
    return {
        "images": np.stack([view.image for view in done]),
        "depth": depth,
        "mask": depth > 0,
        "extrinsics": relative_to_first(np.stack([view.extrinsics for view in done])).astype(np.float32),
        "intrinsics": np.stack([view.intrinsics for view in done]).astype(np.float32),
        "sky": np.stack([view.sky for view in done]),
    }
