"""`da3jax finetune CONFIG [key=value …]`."""

from da3jax.cli.failures import failures_in_a_sentence
from da3jax.cli.processes import Coordinator, NumProcesses, ProcessId, join_processes
from da3jax.cli.train import Config, Overrides, run

DEFAULTS = {"optimizer": {"freeze": ["^backbone/"], "learning_rate": 2e-5, "warmup_steps": 100}}


@failures_in_a_sentence()
def command(
    config: Config,
    overrides: Overrides = None,
    coordinator: Coordinator = None,
    num_processes: NumProcesses = None,
    process_id: ProcessId = None,
) -> None:
    """As train, from weights (start_from), with a frozen backbone and a small rate unless the configuration says otherwise."""
    run(config, overrides or [], DEFAULTS, speaks=join_processes(coordinator, num_processes, process_id), from_weights=True)
