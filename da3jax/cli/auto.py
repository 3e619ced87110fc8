"""`da3jax auto [INPUT]`: sees by itself what INPUT is."""

import pathlib
from typing import Annotated

import typer

from da3jax.cli.options import (
    IMAGE_EXTENSIONS,
    AlignToInputExtScale,
    End,
    Fps,
    ImageExtensions,
    RunOptions,
    SparseSubdir,
    Start,
    with_run_options,
)
from da3jax.cli.progress import Progress
from da3jax.cli.rendered import run_on_a_rendered_scene
from da3jax.cli.run import run

_MEANT_FOR = {
    "image_extensions": ("image", "images"),
    "fps": ("video",),
    "start": ("video",),
    "end": ("video",),
    "sparse_subdir": ("colmap",),
    "align_to_input_ext_scale": ("colmap", "nerfstudio"),
}
"""The kinds of input for which an option means something."""


def _say_what_means_nothing(context: typer.Context, found: str, progress: Progress, what: str) -> None:
    """Names the options that were given and are for other kinds of input than was found."""
    for option, kinds in _MEANT_FOR.items():
        source = context.get_parameter_source(option)
        if source is not None and source.name == "COMMANDLINE" and found not in kinds:
            progress.say(f"--{option.replace('_', '-')} has no effect on {what}: it is for {' and '.join(kinds)}")


@with_run_options
def command(
    context: typer.Context,
    path: Annotated[
        pathlib.Path | None,
        typer.Argument(
            exists=True,
            metavar="INPUT",
            help="An image, a folder of images, a video, a folder with a COLMAP model, or Nerfstudio's transforms.json (or its folder); "
            "without one a scene is rendered, and the errors are shown.",
        ),
    ] = None,
    image_extensions: ImageExtensions = IMAGE_EXTENSIONS,
    fps: Fps = 1.0,
    start: Start = None,
    end: End = None,
    sparse_subdir: SparseSubdir = "",
    align_to_input_ext_scale: AlignToInputExtScale = True,
    *,
    options: RunOptions,
) -> None:
    """Depth, cameras and points of whatever INPUT is, or of a rendered scene, beside the truth."""
    from da3jax.inputs.detect import kind

    extensions = image_extensions.split(",")
    try:
        found = kind(path, extensions) if path else "rendered"
    except (ValueError, OSError) as error:
        raise typer.BadParameter(str(error), param_hint="'INPUT'") from error
    what = f"{path}, which counts as {found}" if path else "a rendered scene"
    _say_what_means_nothing(context, found, Progress(quiet=options.quiet), what)
    if path is None:
        run_on_a_rendered_scene(options)
    elif found == "image":
        run([path], options)
    elif found == "images":
        from da3jax.inputs import list_images

        run(list_images(path, extensions), options)
    elif found == "video":
        from da3jax.inputs.video import video_frames

        run(video_frames(path, fps=fps, start=start, end=end), options)
    else:
        from da3jax.inputs.colmap import read_scene_colmap
        from da3jax.inputs.nerfstudio import read_nerfstudio

        views = read_scene_colmap(path, sparse_subdir) if found == "colmap" else read_nerfstudio(path)
        cameras = {"extrinsics": views.extrinsics, "intrinsics": views.intrinsics}
        run(views.images, options, **cameras, align_to_input_ext_scale=align_to_input_ext_scale)
