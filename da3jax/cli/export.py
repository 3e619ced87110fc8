"""`da3jax export`."""

import pathlib
from typing import Annotated

import typer

from da3jax.cli.failures import failures_in_a_sentence
from da3jax.cli.option_kinds import MOST, choice, number
from da3jax.cli.options import ModelDir, RefViewStrategy, Revision
from da3jax.cli.progress import Progress, print_path
from da3jax.cli.run import load
from da3jax.config import PACKAGED, REF_VIEW_STRATEGIES


@failures_in_a_sentence()
def command(
    height: Annotated[int, number(14, MOST, "Pixels of an image, a multiple of 14.")],
    width: Annotated[int, number(14, MOST, "Likewise.")],
    export_dir: Annotated[pathlib.Path, typer.Option(help="Folder for forward.stablehlo and params.npz.")],
    model_dir: ModelDir = PACKAGED,
    metric_model: Annotated[
        str | None, typer.Option(help="A metric network, named likewise, whose depth and sky the program gives, too, not yet put together.")
    ] = None,
    known_cameras: Annotated[bool, typer.Option("--known-cameras", help="The program takes extrinsics and intrinsics, too.")] = False,
    ref_view_strategy: RefViewStrategy = REF_VIEW_STRATEGIES[0],
    revision: Revision = None,
    dtype: Annotated[str, choice(("float32", "bfloat16"), "Precision of the network.")] = "float32",
) -> None:
    """Write the network as one StableHLO program for CPU, CUDA and TPU and any number of views, which jax alone runs."""
    from da3jax.inference.export import check_exportable

    check_exportable(export_dir, height, width)
    progress = Progress()
    model = load(progress, model_dir, metric_model, revision=revision, dtype=dtype)
    with progress.step(f"export for images of {width} × {height}"):
        written = model.export(export_dir, height, width, known_cameras=known_cameras, ref_view_strategy=ref_view_strategy)
    for path in written:
        print_path(path)
