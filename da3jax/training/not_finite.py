"""The batch that a step could not learn from is kept, and passed over as long as its file is there."""

from __future__ import annotations

import math
import pathlib
import zipfile

import jax
import numpy as np
from jax.experimental.multihost_utils import process_allgather

from da3jax.outputs.atomic import atomic
from da3jax.parallel.processes import all_or_none, gathered
from da3jax.training.data import Batch


def not_finite(batch: Batch, following: dict[str, int], step: int, values: dict[str, float], folder: pathlib.Path) -> FloatingPointError:
    """Saves the batch that a step could not learn from, and which one is next; what is to be raised says so, or why it is not saved."""
    path = _kept(step, folder)
    arrays = {"images": batch.images, **{f"targets_{name}": value for name, value in vars(batch.targets).items() if value is not None}}
    arrays = process_allgather(arrays, tiled=True)
    terms = ", ".join(name for name, value in values.items() if not math.isfinite(value))
    said = f"step {step + 1} is not finite ({terms})"
    try:
        if jax.process_index() == 0:
            with atomic(path) as temp, temp.open("wb") as file:
                np.savez(file, next_batch=following["next"], **arrays)
    except OSError as error:
        return FloatingPointError(f"{said}; the state before it is saved, its batch is not, and comes again: {error}")
    return FloatingPointError(
        f"{said}; its batch is in {path}, the state before it is saved: lower optimizer.learning_rate, or look at what is wrong with that "
        f"batch, which is passed over as long as that file is there"
    )


def after_what_was_not_finite(step: int, folder: pathlib.Path) -> int | None:
    """The number of the batch after the one that `not_finite` kept at this step, if it did; the first process looks for all.

    Raises:
        OSError: the file cannot be read.
    """
    path = _kept(step, folder)

    def kept() -> int:
        if jax.process_index() > 0 or not path.exists():
            return -1
        try:
            with path.open("rb") as opened, np.load(opened) as file:
                return int(file["next_batch"])
        except (OSError, ValueError, EOFError, KeyError, TypeError, zipfile.BadZipFile) as error:
            raise OSError(f"{path} cannot be read ({error}); remove it, and the batch that was kept in it comes again") from error

    following = int(gathered(np.array([all_or_none(kept)]))[0, 0])
    return None if following < 0 else following


def _kept(step: int, folder: pathlib.Path) -> pathlib.Path:
    return folder / f"not-finite-{step}.npz"
