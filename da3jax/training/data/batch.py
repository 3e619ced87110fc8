"""What the pipeline gives the training loop."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np

from da3jax.training.data.config import ProceduralConfig
from da3jax.training.losses.targets import Targets
from da3jax.types import Array


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Batch:
    """B scenes of S views each, with their truth."""

    images: Array
    """(B, S, H, W, 3) sRGB: uint8, or float32 from 0 to 1."""
    targets: Targets
    """Extrinsics in the first view's frame; `sky` float32, NaN where unknown; no normals, no objects."""


@dataclasses.dataclass(frozen=True)
class PlannedBatch:
    """Procedural scenes that are still to be rendered, which `realise` does."""

    seeds: np.ndarray
    """(B, 2) uint32, the key data of each scene."""
    views: int
    height: int
    width: int
    config: ProceduralConfig


@dataclasses.dataclass(frozen=True)
class Loaded:
    """One process's rows of a batch."""

    index: int
    """Number of the batch, from 0."""
    source: int
    """Which of the configuration's sources it comes from."""
    batch: Batch | PlannedBatch
    """Arrays are NumPy's."""
    skipped: tuple[str, ...] = ()
    """A sentence for each broken sample that another one stands in for."""
