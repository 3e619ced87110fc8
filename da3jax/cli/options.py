"""What the commands that run a network have in common: their options, said once."""

import dataclasses
import functools
import inspect
import math
import pathlib
from collections.abc import Callable
from typing import Annotated, Any

import typer

from da3jax.cli.export_options import ExportFlags
from da3jax.cli.failures import failures_in_a_sentence
from da3jax.cli.option_kinds import MOST, checked, choice, number, positive
from da3jax.cli.processes import Coordinator, NumProcesses, ProcessId
from da3jax.config import PACKAGED, REF_VIEW_STRATEGIES
from da3jax.inputs import detect
from da3jax.inputs.preprocess import METHODS

ARUCO_DICTIONARY = "DICT_4X4_50"
IMAGE_EXTENSIONS = ",".join(detect.IMAGE_EXTENSIONS)


def _check_layers(layers: str) -> None:
    if layers and not all(part.strip().isdecimal() for part in layers.split(",")):
        raise ValueError(f"{layers!r} is not a list of blocks; it is numbers from 0 joined by commas, like 2,3")


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
UseRayPose = Annotated[bool, typer.Option(help="Fit the cameras to the rays instead of decoding them.")]
Dtype = Annotated[
    str | None, choice(("float32", "bfloat16"), "Precision of the network; the default is float32 on a CPU, bfloat16 on an accelerator.")
]
Independent = Annotated[bool, typer.Option(help="Run each image on its own instead of all of them as one scene.")]
Fps = Annotated[float, positive("Video: how many frames of a second are taken; with more than it has, all are.")]
Start = Annotated[float | None, number(0, math.inf, "Video: seconds from its beginning to the first frame that may be taken.")]
End = Annotated[float | None, positive("Video: seconds from its beginning after which no frame is taken.")]
SparseSubdir = Annotated[str, typer.Option(help="COLMAP: the folder below sparse/ that holds the model, such as 0.")]
AlignToInputExtScale = Annotated[
    bool, typer.Option(help="Known cameras: bring the result to their scale, instead of them to the network's.")
]
ImageExtensions = Annotated[str, typer.Option(help="Folder of images: endings of the files to take, joined by commas.")]
Device = Annotated[str | None, choice(("cpu", "gpu", "cuda", "tpu"), "What the network runs on; the default is the best that JAX finds.")]
Devices = Annotated[
    int | None,
    number(
        1, math.inf, "How many devices share the views of a scene, or independent images; the default is one, or all of several processes."
    ),
]
Revision = Annotated[str | None, typer.Option(help="Commit, branch or tag of a hub id; the default is the one this version was made for.")]


ExportFeat = Annotated[
    str,
    typer.Option(help="Blocks of the network whose features are exported, from 0 and joined by commas.", callback=checked(_check_layers)),
]
InferGs = Annotated[bool, typer.Option(help="Compute 3D Gaussians, with weights that have them; gs_ply asks for it, too.")]
OfficialGs = Annotated[bool, typer.Option(help="Gaussians as the official code makes them, for comparison.")]


@dataclasses.dataclass(frozen=True)
class RunOptions(ExportFlags):
    """A field is an option: its name, type, help and default."""

    model_dir: ModelDir = PACKAGED
    metric_model: MetricModel = None
    aruco_size: Annotated[
        float | None, positive("Side in metres of the black square of printed ArUco markers in the images, to bring the scene to metres.")
    ] = None
    aruco_dictionary: Annotated[str, typer.Option(help="Which set of markers was printed, by OpenCV's name.")] = ARUCO_DICTIONARY
    export_dir: Annotated[pathlib.Path, typer.Option(help="Folder to write to; nothing that is there is deleted.")] = pathlib.Path("result")
    export_format: ExportFormat = "glb"
    process_res: Annotated[
        int | None,
        number(14, MOST, "Pixels of a side of the images that the network sees, at least 14; the default is 504, and 112 for da3-tiny."),
    ] = None
    max_side: Annotated[int | None, number(14, MOST, "Pixels of the longer side: --process-res N with upper_bound_resize.")] = None
    lower_bound_resize: Annotated[
        bool,
        typer.Option(
            "--lower-bound-resize",
            help="The same as that --process-res-method; with --max-side N the shorter side aims at N, and the longer is at most 2 N.",
        ),
    ] = False
    process_res_method: Annotated[
        str, choice(METHODS, "Whether process-res bounds the longer side or the shorter, and how both become multiples of 14.")
    ] = METHODS[0]
    ref_view_strategy: RefViewStrategy = REF_VIEW_STRATEGIES[0]
    use_ray_pose: UseRayPose = False
    fast_decode: Annotated[
        bool,
        typer.Option("--fast-decode", help="Decode large JPEG files at a reduced size: faster, and 0.1 to 0.3 grey levels off on average."),
    ] = False
    native_resolution: Annotated[
        bool, typer.Option("--native-resolution", help="Bring depth, confidence, cameras and pictures to the photographs' own size.")
    ] = False
    export_feat: ExportFeat = ""
    infer_gs: InferGs = False
    official_gs: OfficialGs = False
    auto_cleanup: Annotated[
        bool, typer.Option(help="Remove what earlier runs wrote into the export folder, and nothing else, once this one has written.")
    ] = False
    independent: Independent = False
    revision: Revision = None
    device: Device = None
    dtype: Dtype = None
    devices: Devices = None
    view: Annotated[bool, typer.Option("--view", help="Show points and cameras in the browser, until Ctrl-C.")] = False
    view_host: Annotated[str, typer.Option(help="Where --view listens; 0.0.0.0 lets other machines in.")] = "127.0.0.1"
    view_port: Annotated[int, number(1, 65535, "Its port; the next free one if it is taken.")] = 8080
    quiet: Annotated[bool, typer.Option("--quiet", help="Say nothing but warnings and errors; with --json the summary, too.")] = False
    json_summary: Annotated[
        bool, typer.Option("--json", help="Print one JSON object to stdout instead of the paths of the files: what went in and came out.")
    ] = False
    coordinator: Coordinator = None
    num_processes: NumProcesses = None
    process_id: ProcessId = None

    def __post_init__(self):
        super().__post_init__()
        check_computed(self.export_format, self.export_feat, infer_gs=self.infer_gs)
        if self.aruco_size is None and self.aruco_dictionary != ARUCO_DICTIONARY:
            raise typer.BadParameter(
                "--aruco-dictionary says which markers are looked for, and none are: --aruco-size says how large they are"
            )
        if self.max_side is not None and self.process_res is not None:
            raise typer.BadParameter("--max-side and --process-res both say how many pixels a side has; give one of the two")
        if self.process_res_method != METHODS[0] and (self.max_side is not None or self.lower_bound_resize):
            given = "--max-side" if self.max_side is not None else "--lower-bound-resize"
            raise typer.BadParameter(f"{given} says what --process-res-method {self.process_res_method} says, too; give one of the two")

    @property
    def resolution(self) -> dict[str, Any]:
        """What `inference` is to be told of the images' size."""
        method = "lower_bound_resize" if self.lower_bound_resize else self.process_res_method
        bounded = self.max_side is not None and self.lower_bound_resize
        return {
            "process_res": self.max_side or self.process_res,
            "process_res_method": method,
            "max_long_side": 2 * self.max_side if bounded else None,
        }


def check_computed(export_format: str, export_feat: str, *, infer_gs: bool) -> None:
    """Refuses pictures of features where no block is named, and features and Gaussians that no file would hold."""
    formats = set(export_format.split("-"))
    if "feat_vis" in formats and not export_feat:
        raise typer.BadParameter("feat_vis shows features: --export-feat says of which blocks, such as 2,3")
    for given, option, holds in ((export_feat, "--export-feat", {"npz", "feat_vis"}), (infer_gs, "--infer-gs", {"npz", "gs_ply"})):
        if given and not holds & formats:
            raise typer.BadParameter(
                f"{option} is of no use with --export-format {export_format}: {' and '.join(sorted(holds))} hold what it asks for"
            )


def wants_gaussians(infer_gs: bool, export_format: str) -> bool:
    """Whether Gaussians are asked for, by `--infer-gs` or by a format."""
    return infer_gs or "gs_ply" in export_format.split("-")


def feature_layers(export_feat: str) -> list[int]:
    """The blocks that `--export-feat` names."""
    return [int(part) for part in export_feat.split(",") if part]


def with_run_options(command: Callable[..., None]) -> Callable[..., None]:
    """`command(..., options: RunOptions)` as Typer reads it: in place of `options` one option a field, failures told in a sentence."""
    own = list(inspect.signature(command).parameters.values())[:-1]
    shared = list(inspect.signature(RunOptions).parameters.values())
    parameters = [parameter.replace(kind=inspect.Parameter.KEYWORD_ONLY) for parameter in (*own, *shared)]

    @functools.wraps(command)
    def flat(**values: Any) -> None:
        options = RunOptions(**{parameter.name: values.pop(parameter.name) for parameter in shared})
        with failures_in_a_sentence(as_json=options.json_summary):
            command(**values, options=options)

    flat.__signature__ = inspect.Signature(parameters)
    flat.__annotations__ = {parameter.name: parameter.annotation for parameter in parameters}
    return flat
