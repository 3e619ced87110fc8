"""The options by which a command is run as one of several processes."""

from __future__ import annotations

import math
from typing import Annotated

import typer

from da3jax.cli.option_kinds import number

Coordinator = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT|auto",
        help="Run as one of several processes: where process 0 is reached; auto where Cloud TPU or Slurm say it. Process 0 speaks for all.",
    ),
]
NumProcesses = Annotated[int | None, number(1, math.inf, "How many processes there are, if --coordinator is HOST:PORT.")]
ProcessId = Annotated[int | None, number(0, math.inf, "Which of them this is, from 0.")]


def join_processes(coordinator: str | None, num_processes: int | None, process_id: int | None) -> bool:
    """Makes this process one of several, if the options say so, before anything else of JAX; returns whether it is the first, which speaks.

    Raises:
        ValueError, ConnectionError: as `da3jax.parallel.initialize`, or a number or an id without a coordinator.
    """
    if coordinator is None:
        if num_processes is not None or process_id is not None:
            raise ValueError("--num-processes and --process-id go with --coordinator, HOST:PORT of process 0")
        return True
    import jax

    from da3jax.parallel import initialize

    initialize(coordinator, num_processes, process_id)
    return jax.process_index() == 0
