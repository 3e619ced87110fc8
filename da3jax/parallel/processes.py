"""Several processes that run one program: how they find each other, and what they tell each other on the host."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import TypeVar

import jax
import numpy as np

HEARTBEAT_SECONDS = 30
"""A process that is not heard of for so long has ended, and the others end too, with its number in JAX's last lines."""
CONNECT_SECONDS = 120
"""How long processes wait for each other at the start."""
PATIENCE_SECONDS = 7 * 24 * 3600
"""How long a process waits for others that are at work, such as writing; one that has ended is found out by its heartbeat before."""
AT_A_TIME = 2**26
"""Bytes that are exchanged together, for each device holds those of all processes."""

_TEXT_BYTES = 2000

_meetings = itertools.count()

T = TypeVar("T")


def initialize(coordinator: str, num_processes: int | None = None, process_id: int | None = None) -> None:
    """Makes this process one of several; called in each of them before anything else of JAX is.

    From then on `jax.devices()` are those of all processes, and a mesh of them is one for all. Each process makes the same calls in the
    same order. If one ends before the others do, they end within a minute, and JAX's last lines say which it was.

    Args:
        coordinator: `HOST:PORT` of process 0, where it is reached by the others; or `auto`, where Cloud TPU, Slurm (`srun`), Open MPI or
            Kubernetes say all three.
        num_processes: how many there are.
        process_id: which this one is, from 0.

    Raises:
        ValueError: what is named is not enough, or no such environment is there; or processes are told so too late.
        ConnectionError: the others did not come within two minutes.
    """
    automatic = coordinator == "auto"
    if automatic and (num_processes is not None or process_id is not None):
        raise ValueError("coordinator is 'auto', which finds number and id of processes by itself; leave both out, or name HOST:PORT")
    if not automatic:
        host, _, port = coordinator.rpartition(":")
        if not host or not port.isdigit():
            raise ValueError(f"coordinator is {coordinator!r}; it is HOST:PORT of process 0, for example 10.0.0.1:1234, or 'auto'")
        if num_processes is None or process_id is None or not 0 <= process_id < num_processes:
            raise ValueError(
                f"num_processes is {num_processes} and process_id {process_id}; with a coordinator both are given, the id from 0 to one "
                f"less than their number"
            )
    known = {} if automatic else {"coordinator_address": coordinator, "num_processes": num_processes, "process_id": process_id}
    waiting = {"initialization_timeout": CONNECT_SECONDS, "heartbeat_timeout_seconds": HEARTBEAT_SECONDS}
    if not automatic:  # else JAX asks the environment for the devices, too
        known["cluster_detection_method"] = "deactivate"
    try:
        jax.distributed.initialize(**known, **waiting, shutdown_timeout_seconds=CONNECT_SECONDS)
    except ValueError as error:
        raise ValueError(
            f"there is no environment of several processes that JAX knows ({error}); on Cloud TPU, under srun, mpirun or in Kubernetes it "
            f"is found, elsewhere name coordinator, num_processes and process_id"
        ) from error
    except RuntimeError as error:
        line = str(error).splitlines()[0]
        if "before any JAX" in line or "only be called once" in line:
            raise ValueError(f"processes find each other before anything else of JAX is called, and once ({line})") from error
        raise ConnectionError(f"the processes did not find each other within {CONNECT_SECONDS} s ({line})") from error


def gathered(array: np.ndarray) -> np.ndarray:
    """(P, …): the arrays of all processes, which are alike, bit by bit; some rows of the first axis at a time where they are large."""
    from jax.experimental import multihost_utils

    rows = max(1, AT_A_TIME * len(array) // max(1, array.nbytes * jax.process_count()))
    octets = np.ascontiguousarray(array).reshape(len(array), -1).view(np.uint8)  # float64 would come back as float32
    starts = range(0, len(array), rows)
    parts = [multihost_utils.process_allgather(octets[start : start + rows]) for start in starts]
    everyone = np.concatenate([np.asarray(part).reshape(jax.process_count(), -1, octets.shape[1]) for part in parts], axis=1)
    return everyone.view(array.dtype).reshape(-1, *array.shape)


def gathered_texts(text: str) -> list[str]:
    """What each process says, by its number; of a long text the beginning, and what is no UTF-8 (bytes of a file name) in escapes."""
    octets = np.zeros((1, _TEXT_BYTES), np.uint8)
    said = text.encode(errors="backslashreplace")[:_TEXT_BYTES]
    octets[0, : len(said)] = np.frombuffer(said, np.uint8)
    return [bytes(other[other != 0]).decode(errors="replace") for other in gathered(octets)[:, 0]]


def meet() -> None:
    """Waits until all processes are here, which collectives do not: on CPUs they give up after half a minute."""
    from orbax.checkpoint import multihost

    multihost.get_barrier_sync_fn()(key=f"da3jax-{next(_meetings)}", timeout_ms=1000 * PATIENCE_SECONDS)


def all_or_none(work: Callable[[], T]) -> T:
    """What `work` gives in this process, if it did not fail in any; else its own error here, and the first of theirs elsewhere.

    Processes wait for each other, however long it takes one of them.

    Raises:
        OSError: another process failed, in whose words.
        Exception: what `work` raises here, of any kind.
    """
    if jax.process_count() == 1:
        return work()
    result, error = None, None
    try:
        result = work()
    except (ValueError, OSError, ImportError) as own:
        error = own
    meet()
    texts = gathered_texts("" if error is None else str(error) or type(error).__name__)
    if error is not None:
        raise error
    for number, other in enumerate(texts):
        if other:
            raise OSError(f"process {number}: {other}")
    return result
