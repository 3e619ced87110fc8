"""The files that a call of `inference` is to write: what cannot be written is refused before images are read."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any

import jax

from da3jax import outputs as formats
from da3jax.config import Config
from da3jax.inputs import lazy_images
from da3jax.inputs.images import ImageLike
from da3jax.parallel.processes import all_or_none


def check_export(
    export_dir: str | pathlib.Path,
    export_format: str,
    options: Mapping[str, Any],
    images: Sequence[ImageLike],
    config: Config,
    *,
    export_feat_layers: Sequence[int],
    intrinsics: bool,
    independent: bool,
    use_ray_pose: bool,
    together: bool,
) -> list[str]:
    """The names of the formats, as `inference` takes them, `intrinsics` being whether any are known.

    `together` says that several processes make this call, of which the first writes: all of them fail where it cannot.

    Raises:
        ValueError: a format or option that is unknown, or that this network, these images or the folder do not go with.
        OSError: the folder cannot be written.
        ModuleNotFoundError: a format needs an extra that is not installed.
    """
    names = formats.check_formats(export_format)
    if "feat_vis" in names and not export_feat_layers:
        raise ValueError("export format 'feat_vis' needs features; export_feat_layers names the blocks, such as [2, 3]")
    if "images" in options:
        raise ValueError("export_kwargs has images, and exports take those that inference was given; leave them out")
    formats.export_options(**options)
    formats.check_placed(names, len(images), config, independent=independent, use_ray_pose=use_ray_pose, intrinsics=intrinsics)
    check = partial(formats.check_folder, names, export_dir, lazy_images(images)) if jax.process_index() == 0 else lambda: None
    all_or_none(check) if together else check()
    return names
