"""`da3jax colmap FOLDER`."""

import pathlib
from typing import Annotated

import typer

from da3jax.cli.options import AlignToInputExtScale, RunOptions, SparseSubdir, with_run_options
from da3jax.cli.run import run


@with_run_options
def command(
    folder: Annotated[
        pathlib.Path, typer.Argument(exists=True, file_okay=False, metavar="FOLDER", help="A folder with images/ and COLMAP's sparse/.")
    ],
    sparse_subdir: SparseSubdir = "",
    align_to_input_ext_scale: AlignToInputExtScale = True,
    *,
    options: RunOptions,
) -> None:
    """Depth and points of the images of a COLMAP model, with its cameras."""
    from da3jax.inputs.colmap import read_scene_colmap

    views = read_scene_colmap(folder, sparse_subdir)
    run(
        views.images,
        options,
        extrinsics=views.extrinsics,
        intrinsics=views.intrinsics,
        align_to_input_ext_scale=align_to_input_ext_scale,
    )
