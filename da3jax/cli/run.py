"""Images in, files out: what the commands that run a network share."""

from __future__ import annotations

import functools
import json
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import typer

from da3jax.cli.failures import failures_in_a_sentence
from da3jax.cli.options import RunOptions, feature_layers, wants_gaussians
from da3jax.cli.processes import join_processes
from da3jax.cli.progress import Progress, print_path
from da3jax.config import PACKAGED, Config

if TYPE_CHECKING:
    from da3jax import DepthAnything3, Prediction
    from da3jax.inputs.images import ImageLike


_NOT_FOR_REAL_WORK = (
    f"{PACKAGED} is used, which is small and has seen rendered scenes only; for real work name released weights, "
    "such as --model-dir depth-anything/DA3-BASE (`da3jax models` lists them with their licences)"
)


def join(options: RunOptions) -> Progress:
    """Makes this process one of several, if the options say so; returns where it says how it goes on: the first alone does.

    Raises:
        ValueError, ConnectionError: as `join_processes`.
    """
    speaks = join_processes(options.coordinator, options.num_processes, options.process_id, options.device)
    return Progress(quiet=options.quiet or not speaks)


def load(
    progress: Progress, source: str, metric_model: str | None, *, revision: str | None, dtype: str | None, devices: int | None = None
) -> DepthAnything3:
    """The network that the options name, fetched where it is not there; on all devices where there are several processes."""
    import jax

    from da3jax import DepthAnything3
    from da3jax.parallel.processes import all_or_none
    from da3jax.weights import hub

    resolve = functools.partial(hub.resolve, progress=progress.is_terminal and not progress.quiet)
    folder = all_or_none(lambda: resolve(source, revision=revision))
    if folder == hub.PACKAGED_FOLDER:
        progress.say(_NOT_FOR_REAL_WORK)
    metric = None if metric_model is None else all_or_none(lambda: resolve(metric_model))
    with progress.step(f"load {source}" + (f" and {metric_model}" if metric else "")):
        if devices is None and jax.process_count() > 1:
            devices = jax.device_count()
        return all_or_none(lambda: DepthAnything3.from_pretrained(folder, metric_model=metric, dtype=dtype, devices=devices))


def load_for(progress: Progress, options: RunOptions, views: int, *, intrinsics: bool = False) -> DepthAnything3:
    """`load` with what the options say, for so many views, of which intrinsics may be known.

    Raises:
        ValueError: also where a format needs cameras that the network will not have.
    """
    from da3jax.outputs import check_formats, check_placed

    names = (options.model_dir, options.metric_model)
    model = load(progress, *names, revision=options.revision, dtype=options.dtype, devices=options.devices)
    how = {"independent": options.independent, "use_ray_pose": options.use_ray_pose, "intrinsics": intrinsics}
    check_placed(check_formats(options.export_format), views, model.config, **how)
    return model


def check_export(options: RunOptions, images: Sequence[ImageLike] = ()) -> None:
    """Makes sure, before the network takes its time, that what comes out of the images can be written and shown.

    Raises:
        OSError: the process that writes cannot do so, or cannot listen where it should show it.
        ValueError: it would write over an image or a model of other origin, or remove what images are read from.
        ModuleNotFoundError: it cannot show what it should.
    """
    import jax

    from da3jax.inputs import lazy_images
    from da3jax.outputs import check_folder, check_formats
    from da3jax.outputs.kept_inputs import check_inputs_outside
    from da3jax.outputs.viewer import check_host, import_viser

    if jax.process_index() == 0:
        formats, lazy = check_formats(options.export_format), lazy_images(images)
        if options.auto_cleanup:
            check_inputs_outside(options.export_dir, lazy)
        check_folder(formats, options.export_dir, lazy)
        if options.view:
            import_viser()
            check_host(options.view_host)


def outputs_for(export_format: str, config: Config, also: Sequence[str] = ()) -> list[str]:
    """What the network is to compute: what only the archives hold is asked for on their account only, or if it is among `also`."""
    from da3jax.outputs import check_formats

    archives = {"npz", "mini_npz"} & set(check_formats(export_format))
    unused = {"taps", "raw_gs", *(() if archives else ("ray", "metric_depth"))}
    return [name for name in config.outputs if name not in unused or name in also]


def run(
    images: Sequence[ImageLike],
    options: RunOptions,
    *,
    extrinsics: np.ndarray | None = None,
    intrinsics: np.ndarray | None = None,
    align_to_input_ext_scale: bool = True,
) -> None:
    """Runs the network on the images as one scene, or on each by itself, writes the exports and prints their paths.

    Args:
        images: N pictures, as `DepthAnything3.inference` takes them.
        options: those of the command line.
        extrinsics: (N, 3, 4) world-to-camera, if they are known.
        intrinsics: (N, 3, 3) pixels of the pictures at their own size, if they are known.
        align_to_input_ext_scale: as `DepthAnything3.inference`.

    Raises:
        ValueError, OSError: what the library refuses: an image, the model, the export folder.
    """
    import jax

    from da3jax.inference.own_views import check_same_images
    from da3jax.inputs.aruco import check_markers
    from da3jax.parallel.processes import all_or_none

    progress = join(options)
    if options.independent and extrinsics is not None:
        extrinsics = None
        progress.say("--independent images have no common world: of the known cameras only the intrinsics are used")
    check_same_images(images)
    all_or_none(lambda: check_export(options, images))
    if options.aruco_size is not None:
        if options.independent and len(images) > 1:
            raise ValueError("--aruco-size gives a scene its scale, and --independent images have one each; leave one of the two out")
        with progress.step("look for markers"):  # before the network takes its time
            all_or_none(lambda: jax.process_index() > 0 or check_markers(images, options.aruco_dictionary))
    model = load_for(progress, options, len(images), intrinsics=intrinsics is not None)
    cameras = {"extrinsics": extrinsics, "intrinsics": intrinsics, "align_to_input_ext_scale": align_to_input_ext_scale}
    prediction = infer(progress, model, images, options, **cameras)
    all_or_none(lambda: jax.process_index() > 0 or _finish(progress, prediction, images, options))


def _finish(progress: Progress, prediction: Prediction, images: Sequence[ImageLike], options: RunOptions) -> None:
    """What the first process does with a prediction."""
    from da3jax import to_metres

    if options.aruco_size is not None:
        prediction = to_metres(prediction, aruco_size=options.aruco_size, images=images, aruco_dictionary=options.aruco_dictionary)
    if prediction.is_metric:
        progress.say(_metres(prediction))
    written = write(progress, prediction, images, options)
    tell(progress, prediction, written, options)
    show(prediction, options)


def infer(
    progress: Progress, model: DepthAnything3, images: Sequence[ImageLike], options: RunOptions, *, also: Sequence[str] = (), **known: Any
) -> Prediction:
    """What the network says of the images: what the exports hold, and the outputs `also`, where it has them."""
    with progress.step(f"{len(images)} view{'s' * (len(images) > 1)}, compiling included"):
        return model.inference(
            list(images),
            use_ray_pose=options.use_ray_pose,
            ref_view_strategy=options.ref_view_strategy,
            **options.resolution,
            independent=options.independent,
            fast_decode=options.fast_decode,
            native_resolution=options.native_resolution,
            outputs=outputs_for(options.export_format, model.config, also),
            export_feat_layers=feature_layers(options.export_feat),
            infer_gs=wants_gaussians(options.infer_gs, options.export_format),
            official_gs=options.official_gs,
            **known,
        )


def write(progress: Progress, prediction: Prediction, images: Sequence[ImageLike], options: RunOptions) -> list[pathlib.Path]:
    """Writes the exports, each of which is on the list of ours before the next; with `--auto-cleanup` what earlier runs wrote goes then."""
    from da3jax.inputs import lazy_images
    from da3jax.outputs import export_each
    from da3jax.outputs.manifest import record, remove_earlier

    written, given = [], {"images": lazy_images(images), **options.export_options}
    with progress.step(f"write {options.export_format}"):
        for files in export_each(prediction, options.export_format, options.export_dir, **given):
            record(options.export_dir, files)
            written += files
        if options.auto_cleanup:
            removed = remove_earlier(options.export_dir, written)
            record(options.export_dir, [])  # forgets them
            progress.say(f"{len(removed)} file{'s' * (len(removed) != 1)} of earlier runs removed")
    return written


def tell(progress: Progress, prediction: Prediction, written: Sequence[pathlib.Path], options: RunOptions, **more: Any) -> None:
    """Says on stdout what was written: a path a line, or with `--json` one object."""
    if options.json_summary:
        views, height, width = prediction.depth.shape
        summary = {
            "model": options.model_dir,
            "views": views,
            "height": height,
            "width": width,
            "is_metric": prediction.is_metric,
            "conditioned": list(prediction.conditioned),
            "files": [str(path) for path in written],
            "seconds": {what: round(seconds, 3) for what, seconds in progress.seconds.items()},
            **more,
        }
        typer.echo(json.dumps(summary))
    elif not options.quiet:
        for path in written:
            print_path(path)


def show(prediction: Prediction, options: RunOptions) -> None:
    """With `--view`, a page in the browser until Ctrl-C; what fails then is said on stderr alone, for stdout has what was written."""
    if options.view:
        from da3jax.outputs import ExportOptions, view

        def ready(address: str) -> None:
            typer.echo(f"{address} shows it, until Ctrl-C", err=True)

        with failures_in_a_sentence():
            view(prediction, ExportOptions(**options.export_options), host=options.view_host, port=options.view_port, ready=ready)


def _metres(prediction: Prediction) -> str:
    """That depth is in metres, by what, and how well it fits."""
    said = "depth is in metres"
    if prediction.scale_factor is not None and np.ndim(prediction.scale_factor) == 0:
        said += f": 1 in the network's units is {float(prediction.scale_factor):.4g} m"
    if prediction.scale_residual is not None and np.ndim(prediction.scale_residual) == 0:
        said += f", which leaves {float(prediction.scale_residual):.2g} m (root mean square)"
    return said
