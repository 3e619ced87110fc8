"""The command `da3jax`: one file a command, options named as the official ones.

Paths of what was written go to stdout, one a line, or one JSON object with `--json`, and so do the lines of a training run; progress and
timing go to stderr, unless `--quiet`.
Exit status 2 for a command line that cannot be meant, 1 for a failure (one sentence, no traceback), 130 for Ctrl-C and SIGTERM.
"""

import gc
import signal
from types import FrameType
from typing import Annotated

import typer

from da3jax import __version__
from da3jax.cli import auto, colmap, compile, convert, export, finetune, image, images, models, plan, scenes, train, video

app = typer.Typer(
    help="Depth Anything 3 in JAX: depth, cameras and points from photographs and videos.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,  # its tables cut the names of options at 80 columns
    pretty_exceptions_enable=False,
)
for module in (auto, image, images, video, colmap, compile, plan, export, convert, models, scenes, train, finetune):
    app.command(module.__name__.rpartition(".")[2])(module.command)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"da3jax {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")] = False,
) -> None:
    """What the command takes before the name of another."""


def main(prog_name: str | None = None) -> None:
    """Runs the command line in `sys.argv` and exits; `prog_name` is what its usage calls it."""
    gc.set_threshold(50_000)  # tracing makes many objects that stay, and Python would look through them all again and again
    signal.signal(signal.SIGTERM, _interrupt)  # of timeouts and schedulers: what is half-written is to go, as after Ctrl-C
    app(prog_name=prog_name)


def _interrupt(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)  # a second one ends it at once
    raise KeyboardInterrupt
