"""Batches without end, in an order that depends on the seed only: not on worker processes, nor on how many processes train."""

from __future__ import annotations

import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator, Mapping
from multiprocessing import parent_process
from typing import Any

import numpy as np
from absl import flags

from da3jax.config import PATCH_SIZE
from da3jax.schema import is_integer
from da3jax.training.data.batch import Batch, Loaded, PlannedBatch
from da3jax.training.data.config import DataConfig, FolderConfig
from da3jax.training.data.folder import TooManyBrokenError, list_scenes, load_sample
from da3jax.training.data.plan import SAMPLES, Plan
from da3jax.training.data.procedural import scene_seed
from da3jax.training.losses.targets import Targets

if not flags.FLAGS.is_parsed():
    flags.FLAGS.mark_as_parsed()  # Grain reads them, here and in the worker processes, which import this module


logger = logging.getLogger(__name__)


class Batches(Iterator[Loaded]):
    """This process's rows of batch 0, 1, 2, ...; a context manager, for worker processes have to be ended.

    with Batches(config, seed=0, multiple_of=8) as batches:
        loaded = next(batches)
        batch = realise(loaded.batch)

    Args:
        config: what to draw from.
        seed: from 0 on; the same one gives the same batches.
        multiple_of: devices that share a batch; its scenes are a multiple of this.
        process_index: which of the processes that train this is.
        process_count: how many there are; they hold equal parts of a batch, in order.

    Raises:
        ValueError: a number that is out of range; a folder without scenes.
        OSError: a folder that is not there.
    """

    def __init__(self, config: DataConfig, *, seed: int, multiple_of: int = 1, process_index: int = 0, process_count: int = 1):
        if seed < 0:
            raise ValueError(f"seed is {seed}; it is a whole number from 0 on")
        if multiple_of < 1 or process_count < 1 or multiple_of % process_count:
            raise ValueError(f"multiple_of is {multiple_of}; it is a positive multiple of the number of processes, {process_count}")
        if not 0 <= process_index < process_count:
            raise ValueError(f"process_index is {process_index}; it is from 0 to {process_count - 1}")
        self._config = config
        _warn_of_the_budget(config, multiple_of)
        self._load = _Load(config, seed, multiple_of, process_index, process_count)
        self._next = 0
        self._iterator = None

    def __next__(self) -> Loaded:
        """The next batch.

        Raises:
            ValueError: a folder in which so many samples in a row are broken that there is nothing to train on.
            OSError: a worker process has ended.
        """
        if self._iterator is None:
            self._iterator = iter(self._dataset())
        try:
            element = next(self._iterator)
        except RuntimeError as error:
            if not self._config.workers:
                raise
            raise OSError(f"a process that loads data has ended ({error}); fewer of them, data.workers, take less memory") from error
        if element["failure"]:
            raise ValueError(element["failure"])
        self._next += 1
        return Loaded(element["index"], element["source"], self._batch(element), tuple(element["skipped"]))

    def get_state(self) -> dict[str, int]:
        """What a checkpoint keeps: the number of the next batch."""
        return {"next": self._next}

    def set_state(self, state: Mapping[str, Any]) -> None:
        """Goes on with the batch that was next when `get_state` gave this, in whatever run that had the same configuration and seed.

        Raises:
            ValueError: it is no such state.
        """
        number = state.get("next") if isinstance(state, Mapping) else None
        if not is_integer(number) or number < 0:
            raise ValueError(f"{state!r} is no state of a data pipeline; that is {{'next': NUMBER}}, as get_state gives it")
        self.close()
        self._next = int(number)

    def close(self) -> None:
        """Ends the worker processes; a further `next` would start new ones."""
        iterator, self._iterator = self._iterator, None
        if iterator is not None:
            iterator.close()

    def __enter__(self) -> Batches:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _dataset(self) -> Any:
        import grain

        # A batch depends on its number only, so a new stream from any number on is as good as one that was wound forward.
        plans = grain.MapDataset.range(self._next, sys.maxsize)
        stream = plans.map(self._load).to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
        if not self._config.workers:
            return stream
        return stream.mp_prefetch(
            grain.MultiprocessingOptions(self._config.workers, per_worker_buffer_size=2), worker_init_fn=_start_worker
        )

    def _batch(self, element: dict[str, Any]) -> Batch | PlannedBatch:
        if "seeds" in element:
            config = self._config.sources[element["source"]]
            return PlannedBatch(element["seeds"], element["views"], *element["size"], config)
        # Copies: what a worker made lies in shared memory, which goes when Grain thinks that it may.
        arrays = {name: np.array(array) for name, array in element["arrays"].items()}
        return Batch(arrays.pop("images"), Targets(**arrays))


class _Load:
    """From the number of a batch to this process's rows of it, as a dict that passes between processes; never raises."""

    def __init__(self, config: DataConfig, seed: int, multiple_of: int, process_index: int, process_count: int):
        self._config, self._seed = config, seed
        self._plan = Plan(config, seed, multiple_of)
        self._process_index, self._process_count = process_index, process_count
        self._scenes = [list_scenes(source) if isinstance(source, FolderConfig) and source.weight else None for source in config.sources]

    def __call__(self, index: int) -> dict[str, Any]:
        plan = self._plan[index]
        share = len(plan.positions) // self._process_count
        positions = plan.positions[self._process_index * share : (self._process_index + 1) * share]
        size = plan.height, plan.width
        element = {"index": index, "source": plan.source, "views": plan.views, "size": size, "skipped": [], "failure": ""}
        source = self._config.sources[plan.source]
        if not isinstance(source, FolderConfig):
            return element | {"seeds": np.stack([scene_seed((self._seed, SAMPLES, plan.source, position)) for position in positions])}
        rows = []
        for position in positions:
            try:
                row, skipped = load_sample(
                    self._scenes[plan.source], source, self._config.augment, plan.views, size,
                    seed=self._seed, source=plan.source, position=position,
                )  # fmt: skip
            except TooManyBrokenError as error:
                return element | {"failure": str(error)}
            rows.append(row)
            element["skipped"] += skipped
        return element | {"arrays": {name: np.stack([row[name] for row in rows]) for name in rows[0]}}


def _warn_of_the_budget(config: DataConfig, multiple_of: int) -> None:
    largest = max(
        (views * height * width // PATCH_SIZE**2, views, height, width) for views in config.views for height, width in config.sizes
    )
    if multiple_of * largest[0] > config.batch_tokens:
        logger.warning(
            "batch_tokens is %d, and batches go beyond it where views are many and large: %d scenes of %d views of %d × %d have %d patches",
            config.batch_tokens, multiple_of, *largest[1:], multiple_of * largest[0],
        )  # fmt: skip


def _start_worker(index: int, count: int) -> None:
    """A worker leaves Ctrl-C to the process that trains, and does not outlive it, however that ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def follow() -> None:
        parent_process().join()
        os._exit(1)

    threading.Thread(target=follow, daemon=True).start()
