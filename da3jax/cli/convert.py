"""`da3jax convert SOURCE OUT_DIR`."""

import pathlib
from typing import Annotated

import typer

from da3jax.cli.failures import failures_in_a_sentence
from da3jax.cli.option_kinds import choice
from da3jax.cli.options import Revision
from da3jax.cli.progress import Progress, print_path


@failures_in_a_sentence()
def command(
    source: Annotated[str, typer.Argument(metavar="SOURCE", help="Hub id, folder as released, or converted folder.")],
    out_dir: Annotated[pathlib.Path, typer.Argument(metavar="OUT_DIR", help="Folder to write.")],
    to: Annotated[
        str,
        choice(("orbax", "safetensors"), "A checkpoint of JAX with a hash for each array, or the released layout, which PyTorch reads."),
    ] = "orbax",
    dtype: Annotated[str, choice(("float32", "float16", "bfloat16"), "What safetensors are stored in; half precision rounds.")] = "float32",
    revision: Revision = None,
) -> None:
    """Released weights to a JAX checkpoint, and back."""
    from da3jax.outputs import check_writable, nearest_folder
    from da3jax.weights import convert

    check_writable(nearest_folder(out_dir if out_dir.is_dir() else out_dir.parent), "the folder to write to,")
    progress = Progress()
    with progress.timed(f"convert {source}"):
        written = convert(source, out_dir, to=to, dtype=dtype, revision=revision, progress=progress.is_terminal)
    print_path(written)
