"""`da3jax train CONFIG [key=value …]`."""

import sys
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import typer

from da3jax.cli.failures import failures_in_a_sentence
from da3jax.cli.processes import Coordinator, NumProcesses, ProcessId, join_processes
from da3jax.cli.progress import print_path

Config = Annotated[
    str,
    typer.Argument(
        metavar="CONFIG",
        help="A YAML file, or one of our own, such as train/da3_small; what it does not say is the paper's choice.",
    ),
]
Overrides = Annotated[
    list[str] | None, typer.Argument(metavar="KEY=VALUE", help="Other values, such as steps=100 or optimizer.learning_rate=1e-4.")
]

SHOWN = ("total", "depth", "ray", "camera", "loss", "abs_rel", "auc_30", "learning_rate", "seconds")
"""What a line on the screen has room for; the rest is in the files."""


def training_command(help: str, defaults: Mapping[str, Any], *, from_weights: bool = False) -> Callable[..., None]:
    """A command that trains, as Typer reads it; arguments as `run`."""

    @failures_in_a_sentence()
    def command(
        config: Config,
        overrides: Overrides = None,
        coordinator: Coordinator = None,
        num_processes: NumProcesses = None,
        process_id: ProcessId = None,
    ) -> None:
        speaks = join_processes(coordinator, num_processes, process_id)
        run(config, overrides or [], defaults, speaks=speaks, from_weights=from_weights)

    command.__doc__ = help
    return command


def run(source: str, overrides: list[str], defaults: Mapping[str, Any], *, speaks: bool, from_weights: bool) -> None:
    """Trains, and if it `speaks` prints how it goes and, as the last line, the folder of the weights.

    Raises:
        ValueError: what the library refuses, or `from_weights` and a configuration without any.
    """
    import logging

    from da3jax.inference.compilation_cache import use_compilation_cache
    from da3jax.training.config import load_train_config
    from da3jax.training.loop import train

    say = typer.echo if speaks else lambda line: None
    logging.basicConfig(format="%(message)s", level=logging.WARNING, force=True)  # Grain may have set it up
    logging.getLogger("da3jax").setLevel(logging.INFO if speaks else logging.WARNING)
    use_compilation_cache()
    settings = load_train_config(source, overrides, defaults=defaults)
    if from_weights and settings.start_from is None:
        raise ValueError(f"{source} has no start_from, the weights to fine-tune; add start_from=depth-anything/DA3-SMALL, or a folder")

    def report(step: int, metrics: dict[str, float]) -> None:
        shown = [f"{name} {value:.4g}" for name, value in metrics.items() if name.partition("/")[2] in SHOWN]
        say(f"step {step} of {settings.steps}: {', '.join(shown)}")

    written = train(settings, report=report, progress=speaks and sys.stderr.isatty())
    if speaks:
        print_path(written)


command = training_command("Train a network, or go on training it where its checkpoints end.", {})
