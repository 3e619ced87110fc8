"""`da3jax images FOLDER`."""

import pathlib
from typing import Annotated

import typer

from da3jax.cli.options import IMAGE_EXTENSIONS, ImageExtensions, RunOptions, with_run_options
from da3jax.cli.run import run


@with_run_options
def command(
    folder: Annotated[pathlib.Path, typer.Argument(exists=True, file_okay=False, metavar="FOLDER", help="A folder of images.")],
    image_extensions: ImageExtensions = IMAGE_EXTENSIONS,
    *,
    options: RunOptions,
) -> None:
    """Depth, cameras and points of a folder of images."""
    from da3jax.inputs import list_images

    run(list_images(folder, image_extensions.split(",")), options)
