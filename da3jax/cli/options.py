"""What the commands that run a network have in common: their options, said once."""

import dataclasses
import functools
import inspect
import math
import pathlib
from collections.abc import Callable
from typing import Annotated, Any

import typer

from da3jax.cli.failures import failures_in_a_sentence
from da3jax.config import PACKAGED, REF_VIEW_STRATEGIES
from da3jax.inputs.preprocess import METHODS
from da3jax.schema import one_of

IMAGE_EXTENSIONS = "png,jpg,jpeg,webp,bmp,tif,tiff"


def checked(check: Callable[[Any], None]) -> Callable[[Any], Any]:
    """An option's callback: a ValueError of `check` is a usage error."""

    def callback(value: Any) -> Any:
        try:
            if value is not None:
                check(value)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from error
        return value

    return callback


def choice(allowed: tuple[str, ...], help: str) -> Any:
    """An option that takes one of `allowed`."""
    return typer.Option(help=help, metavar=f"[{'|'.join(allowed)}]", callback=checked(lambda value: one_of("value", value, allowed)))


def number(low: float, high: float, help: str) -> Any:
    """An option that takes a number from `low` to `high`."""

    def check(value: float) -> None:
        if not low <= value <= high:
            raise ValueError(f"{value} is out of range; it is {f'between {low} and {high}' if high < math.inf else f'at least {low}'}")

    return typer.Option(help=help, callback=checked(check))


def positive(help: str) -> Any:
    """An option that takes a positive number."""

    def check(value: float) -> None:
        if not 0 < value < math.inf:
            raise ValueError(f"{value} is out of range; it is a positive number")

    return typer.Option(help=help, callback=checked(check))


def _check_formats(export_format: str) -> None:
    from da3jax.outputs import check_formats

    check_formats(export_format)


ModelDir = Annotated[
    str, typer.Option(help="Hub id, folder as released, or converted folder: see `da3jax models`. da3-tiny is part of this package.")
]
MetricModel = Annotated[
    str | None, typer.Option(help="A metric network, named likewise, to bring a scene of any network with cameras to metres.")
]
ExportFormat = Annotated[str, typer.Option(help="One format, or several joined by '-'.", callback=checked(_check_formats))]
RefViewStrategy = Annotated[str, choice(REF_VIEW_STRATEGIES, "How the view is chosen in whose frame the others are seen.")]
UseRayPose = Annotated[bool, typer.Option("--use-ray-pose", help="Fit the cameras to the rays instead of decoding them.")]
Dtype = Annotated[
    str | None, choice(("float32", "bfloat16"), "Precision of the network; the default is float32 on a CPU, bfloat16 on an accelerator.")
]
Independent = Annotated[bool, typer.Option("--independent", help="Run each image on its own instead of all of them as one scene.")]
Devices = Annotated[
    int | None,
    number(
        1, math.inf, "How many devices share the views of a scene, or independent images; the default is one, or all of several processes."
    ),
]
Revision = Annotated[str | None, typer.Option(help="Commit, branch or tag of a hub id; the default is the one this version was made for.")]


@dataclasses.dataclass(frozen=True)
class RunOptions:
    """A field is an option: its name, type, help and default."""

    model_dir: ModelDir = PACKAGED
    metric_model: MetricModel = None
    aruco_size: Annotated[
        float | None, positive("Side in metres of the black square of printed ArUco markers in the images, to bring the scene to metres.")
    ] = None
    aruco_dictionary: Annotated[str, typer.Option(help="Which set of markers was printed, by OpenCV's name.")] = "DICT_4X4_50"
    export_dir: Annotated[pathlib.Path, typer.Option(help="Folder to write to; nothing that is there is deleted.")] = pathlib.Path("result")
    export_format: ExportFormat = "glb"
    process_res: Annotated[
        int | None,
        number(
            14, math.inf, "Pixels of a side of the images that the network sees, at least 14; the default is 504, and 112 for da3-tiny."
        ),
    ] = None
    process_res_method: Annotated[
        str, choice(METHODS, "Whether process-res bounds the longer side or the shorter, and how both become multiples of 14.")
    ] = METHODS[0]
    ref_view_strategy: RefViewStrategy = REF_VIEW_STRATEGIES[0]
    use_ray_pose: UseRayPose = False
    conf_thresh_percentile: Annotated[float, number(0, 100, "glb: points of less confidence than this percentile are left out.")] = 40.0
    num_max_points: Annotated[int, number(1, math.inf, "glb: the most points that are written.")] = 1_000_000
    show_cameras: Annotated[bool, typer.Option(help="glb: draw the cameras.")] = True
    revision: Revision = None
    dtype: Dtype = None
    devices: Devices = None
    coordinator: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT|auto",
            help="Run as one of several processes: where process 0 is reached; auto where Cloud TPU or Slurm say it. Process 0 writes.",
        ),
    ] = None
    num_processes: Annotated[int | None, number(1, math.inf, "How many processes there are, if --coordinator is HOST:PORT.")] = None
    process_id: Annotated[int | None, number(0, math.inf, "Which of them this is, from 0.")] = None


def with_run_options(command: Callable[..., None]) -> Callable[..., None]:
    """`command(..., options: RunOptions)` as Typer reads it: in place of `options` one option a field, failures told in a sentence."""
    own = list(inspect.signature(command).parameters.values())[:-1]
    shared = list(inspect.signature(RunOptions).parameters.values())
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*own, *shared)]

    @functools.wraps(command)
    def flat(**values: Any) -> None:
        options = RunOptions(**{parameter.name: values.pop(parameter.name) for parameter in shared})
        with failures_in_a_sentence():
            command(**values, options=options)

    flat.__signature__ = inspect.Signature(parameters)
    flat.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return flat
