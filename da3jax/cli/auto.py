"""`da3jax auto [INPUT]`: sees by itself what INPUT is."""

import pathlib
from typing import Annotated

import typer

from da3jax.cli.options import IMAGE_EXTENSIONS, Independent, RunOptions, checked, with_run_options
from da3jax.cli.rendered import run_on_a_rendered_scene
from da3jax.cli.run import run

VIDEO_EXTENSIONS = "mp4,avi,mov,mkv,flv,wmv,webm,m4v"


def _check_kind(path: pathlib.Path) -> None:
    extension = path.suffix.lower().removeprefix(".")
    if extension in VIDEO_EXTENSIONS.split(","):
        raise ValueError(f"{path} is a video, which is not supported yet; extract its frames into a folder and name that")
    if path.is_file() and extension not in IMAGE_EXTENSIONS.split(","):
        raise ValueError(f"{path} is neither a folder nor an image by its name ({IMAGE_EXTENSIONS}); if it is one, use `da3jax image`")


@with_run_options
def command(
    path: Annotated[
        pathlib.Path | None,
        typer.Argument(
            exists=True,
            metavar="[INPUT]",
            help="An image file or a folder of images; without one a scene is rendered, and the errors are shown.",
            callback=checked(_check_kind),
        ),
    ] = None,
    independent: Independent = False,
    *,
    options: RunOptions,
) -> None:
    """Depth, cameras and points of an image, of a folder, or of a rendered scene, beside the truth."""
    from da3jax.inputs import list_images

    if path is None:
        run_on_a_rendered_scene(options, independent=independent)
        return
    run(list_images(path) if path.is_dir() else [path], options, independent=independent)
