"""What a network does not take is refused with the reason, before anything is computed: shapes, types and names are known under `jit`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from da3jax.config import PATCH_SIZE, REF_VIEW_STRATEGIES, Config, ModelConfig
from da3jax.schema import one_of


def check_arrays(
    config: ModelConfig,
    images: jax.Array,
    extrinsics: jax.Array | None,
    intrinsics: jax.Array | None,
    conditioned: jax.Array | None,
    view_mask: jax.Array | None,
) -> None:
    """Raises a ValueError for arrays that the network cannot take."""
    if images.ndim != 5 or images.shape[-1] != 3:
        raise ValueError(f"images have shape {images.shape}; they are (scenes, views, height, width, 3)")
    if not jnp.issubdtype(images.dtype, jnp.floating):
        raise ValueError(f"images are {images.dtype}; they are floating point, ImageNet-normalised (da3jax.preprocess makes them)")
    batch, views, height, width, _ = images.shape
    if not batch or not views:
        raise ValueError(f"images have shape {images.shape}; at least one scene with one view is needed")
    if height % PATCH_SIZE or width % PATCH_SIZE or not height or not width:
        near = [max(PATCH_SIZE, round(side / PATCH_SIZE) * PATCH_SIZE) for side in (height, width)]
        raise ValueError(f"images are {height} × {width}; both sides are multiples of {PATCH_SIZE}, for example {near[0]} × {near[1]}")
    if view_mask is not None and (view_mask.shape != (batch, views) or view_mask.dtype != bool):
        raise ValueError(f"view_mask is {view_mask.dtype} of shape {view_mask.shape}; for these images it is bool of {(batch, views)}")
    if conditioned is not None and (extrinsics is None or conditioned.shape != (batch,) or conditioned.dtype != bool):
        given = "without extrinsics" if extrinsics is None else f"{conditioned.dtype} of shape {conditioned.shape}"
        raise ValueError(f"conditioned is given {given}; for these images it is bool of {(batch,)}, beside extrinsics and intrinsics")
    if (extrinsics is None) != (intrinsics is None):
        raise ValueError("one of extrinsics and intrinsics is missing; the network is conditioned on both or on none")
    if extrinsics is not None:
        if config.camera is None or config.backbone.alt_start == -1:
            missing = "camera encoder" if config.camera is None else "alt_start, from which block on a token is a camera's"
            raise ValueError(f"{config.name} has no {missing}; it takes no extrinsics")
        if extrinsics.shape not in [(batch, views, rows, 4) for rows in (3, 4)]:
            raise ValueError(
                f"extrinsics have shape {extrinsics.shape}; for these images they are {(batch, views, 3, 4)} or {(batch, views, 4, 4)}"
            )
        if intrinsics.shape != (batch, views, 3, 3):
            raise ValueError(f"intrinsics have shape {intrinsics.shape}; for these images they are {(batch, views, 3, 3)}")


def check_options(config: ModelConfig, ref_view_strategy: str, outputs: Sequence[str] | None, layers: dict[str, Any]) -> tuple[str, ...]:
    """Raises a ValueError for options that the network does not have; returns the outputs to compute."""
    one_of("ref_view_strategy", ref_view_strategy, REF_VIEW_STRATEGIES)
    check_feature_layers(config, layers["feature_layers"])
    blocks = range(config.backbone.depth)
    for layer in layers["attention_layers"]:
        one_of(f"attention_layers of {config.name}: block", layer, [index for index in blocks if config.backbone.cross_view(index)])
    return known_outputs(config, outputs)


def check_feature_layers(config: ModelConfig, layers: Sequence[int]) -> None:
    """Raises a ValueError for a block that the network does not have."""
    for layer in layers:
        if layer not in range(config.backbone.depth):
            raise ValueError(f"export_feat_layers has {layer!r}; blocks of {config.name} are 0 to {config.backbone.depth - 1}")


def known_outputs(config: Config, outputs: Sequence[str] | None) -> tuple[str, ...]:
    """The outputs to compute, by default all but taps and raw Gaussians; raises a ValueError for names that the network does not have."""
    if outputs is None:
        return tuple(name for name in config.outputs if name not in ("taps", "raw_gs"))
    if isinstance(outputs, str):
        raise ValueError(f"outputs is the string {outputs!r}; it is a list of names, like [{outputs!r}]")
    if not np.iterable(outputs):
        raise ValueError(f"outputs is {outputs!r}; it is a list of names, like ['depth']")
    for name in outputs:
        one_of(f"output of {config.name}", name, config.outputs)
    return tuple(outputs)
