"""Batches on the devices before they are asked for."""

from __future__ import annotations

import collections
import concurrent.futures
import os
from collections.abc import Callable, Iterator
from typing import Any

import jax

from da3jax.parallel import batch_sharding
from da3jax.training.data.batch import Batch
from da3jax.training.data.pipeline import Batches
from da3jax.training.data.procedural import draw, place


def prefetched(batches: Batches, mesh: jax.sharding.Mesh, count: int) -> Iterator[tuple[Batch, tuple[str, ...], dict[str, int]]]:
    """`count` batches on the devices, each with what was skipped for it and from where the data go on after it.

    The next ones are made while one is learned from, so that an accelerator need not wait: several on the host, of which two are on the
    devices; one on a CPU, which has to make them, too; what goes wrong with the data is raised after the batches before. Several processes
    make them between steps instead, for what they run together has one order.
    """
    threads = 1 if jax.default_backend() == "cpu" else min(8, os.cpu_count() or 1)
    sharding = batch_sharding(mesh)
    drawn, placed, failure = collections.deque(), collections.deque(), None
    with concurrent.futures.ThreadPoolExecutor(threads) as host, concurrent.futures.ThreadPoolExecutor(1) as devices:
        start, start_next = (host.submit, devices.submit) if jax.process_count() == 1 else (_at_once, _at_once)
        while count or drawn or placed:
            while count and not failure and len(drawn) + len(placed) <= threads:
                try:
                    loaded = next(batches)
                except Exception as error:  # whatever it is, the batches before come first
                    failure = error
                else:
                    drawn.append((start(draw, loaded.batch), loaded.skipped, batches.get_state()))
                    count -= 1
            while drawn and len(placed) < 2:
                future, *rest = drawn.popleft()
                placed.append((start_next(lambda future: place(future.result(), sharding), future), *rest))
            if not placed:
                raise failure
            yield _waited(*placed.popleft())  # and nothing here keeps the batch


def _waited(future: concurrent.futures.Future, *rest: Any) -> tuple:
    """The future's result, and the rest."""
    return future.result(), *rest


def _at_once(function: Callable, *arguments: Any) -> concurrent.futures.Future:
    done = concurrent.futures.Future()
    done.set_result(function(*arguments))
    return done
