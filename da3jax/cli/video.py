"""`da3jax video VIDEO`."""

import pathlib
from typing import Annotated

import typer

from da3jax.cli.options import End, Fps, RunOptions, Start, with_run_options
from da3jax.cli.run import run


@with_run_options
def command(
    video: Annotated[pathlib.Path, typer.Argument(exists=True, dir_okay=False, metavar="VIDEO", help="A video file.")],
    fps: Fps = 1.0,
    start: Start = None,
    end: End = None,
    *,
    options: RunOptions,
) -> None:
    """Depth, cameras and points of frames of a video."""
    from da3jax.inputs.video import video_frames

    run(video_frames(video, fps=fps, start=start, end=end), options)
