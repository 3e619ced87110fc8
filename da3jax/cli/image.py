"""`da3jax image IMAGE`."""

import pathlib
from typing import Annotated

import typer

from da3jax.cli.options import RunOptions, with_run_options
from da3jax.cli.run import run


@with_run_options
def command(
    image: Annotated[pathlib.Path, typer.Argument(exists=True, dir_okay=False, metavar="IMAGE", help="An image file.")],
    *,
    options: RunOptions,
) -> None:
    """Depth of one image."""
    run([image], options)
