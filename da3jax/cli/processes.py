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


def join_processes(coordinator: str | None, num_processes: int | None, process_id: int | None, device: str | None = None) -> bool:
    """Makes this process one of several, if the options say so, before anything else of JAX; returns whether it is the first, which speaks.

    Raises:
        ValueError, ConnectionError: as `da3jax.parallel.initialize` and `use`, or a number or an id without a coordinator.
    """
    import jax

    from da3jax.parallel import initialize

    if coordinator is not None:
        initialize(coordinator, num_processes, process_id)
    elif num_processes is not None or process_id is not None:
        raise ValueError("--num-processes and --process-id go with --coordinator, HOST:PORT of process 0")
    use(device)  # before anything asks JAX for its devices, for what it says then stays
    return coordinator is None or jax.process_index() == 0


def use(device: str | None) -> None:
    """Makes JAX run the network on devices of that kind.

    Raises:
        ValueError: there are none.
    """
    if device is None:
        return
    import jax

    platform = "gpu" if device == "cuda" else device
    try:
        jax.devices(platform)
    except RuntimeError as error:
        raise ValueError(f"--device is {device}, and JAX finds none here; it finds {jax.default_backend()}") from error
    jax.config.update("jax_platform_name", platform)
