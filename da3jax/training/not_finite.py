"""The batch that a step could not learn from is kept, and passed over as long as its file is there."""

from __future__ import annotations

import math
import pathlib

import jax
import numpy as np
from jax.experimental.multihost_utils import process_allgather

from da3jax.outputs.atomic import atomic
from da3jax.parallel.processes import gathered
from da3jax.training.data import Batch


def keep_batch(batch: Batch, following: dict[str, int], step: int, values: dict[str, float], folder: pathlib.Path) -> str:
    """Saves the batch that a step could not learn from, and which one is next, and says so."""
    path = _kept(step, folder)
    arrays = {"images": batch.images, **{f"targets_{name}": value for name, value in vars(batch.targets).items() if value is not None}}
    arrays = process_allgather(arrays, tiled=True)
    if jax.process_index() == 0:
        with atomic(path) as temp, temp.open("wb") as file:
            np.savez(file, next_batch=following["next"], **arrays)
    terms = ", ".join(name for name, value in values.items() if not math.isfinite(value))
    return (
        f"step {step + 1} is not finite ({terms}); its batch is in {path}, the state before it is saved: lower optimizer.learning_rate, "
        f"or look at what is wrong with that batch, which is passed over as long as that file is there"
    )


def after_what_was_not_finite(step: int, folder: pathlib.Path) -> int | None:
    """The number of the batch after the one that `keep_batch` kept at this step, if it did; the first process looks for all."""
    following = -1
    if jax.process_index() == 0 and (path := _kept(step, folder)).exists():
        with np.load(path) as file:
            following = int(file["next_batch"])
    following = int(gathered(np.array([following]))[0, 0])
    return None if following < 0 else following


def _kept(step: int, folder: pathlib.Path) -> pathlib.Path:
    return folder / f"not-finite-{step}.npz"
