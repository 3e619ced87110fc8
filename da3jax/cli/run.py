"""Images in, files out: what the commands that run a network share."""

from __future__ import annotations

import functools
import pathlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import typer

from da3jax.cli.options import RunOptions
from da3jax.cli.progress import Progress
from da3jax.config import PACKAGED, Config

if TYPE_CHECKING:
    from da3jax import DepthAnything3, Prediction


_NOT_FOR_REAL_WORK = (
    f"{PACKAGED} is used, which is small and has seen rendered scenes only; for real work name released weights, "
    "such as --model-dir depth-anything/DA3-BASE (`da3jax models` lists them with their licences)"
)


def join(options: RunOptions) -> Progress:
    """Makes this process one of several, if the options say so; returns where it says how it goes on: the first alone does.

    Raises:
        ValueError, ConnectionError: as `da3jax.parallel.initialize`.
    """
    if options.coordinator is None:
        if options.num_processes is not None or options.process_id is not None:
            raise ValueError("--num-processes and --process-id go with --coordinator, HOST:PORT of process 0")
        return Progress()
    import jax

    from da3jax.parallel import initialize

    initialize(options.coordinator, options.num_processes, options.process_id)
    return Progress(quiet=jax.process_index() > 0)


def load(
    progress: Progress, source: str, metric_model: str | None, *, revision: str | None, dtype: str | None, devices: int | None = None
) -> DepthAnything3:
    """The network that the options name, fetched where it is not there; on all devices where there are several processes."""
    import jax

    from da3jax import DepthAnything3
    from da3jax.parallel.processes import all_or_none
    from da3jax.weights import hub

    resolve = functools.partial(hub.resolve, progress=progress.is_terminal)
    folder = resolve(source, revision=revision)
    if folder == hub.PACKAGED_FOLDER:
        progress.say(_NOT_FOR_REAL_WORK)
    metric = None if metric_model is None else resolve(metric_model)
    with progress.step(f"load {source}" + (f" and {metric_model}" if metric else "")):
        if devices is None and jax.process_count() > 1:
            devices = jax.device_count()
        return all_or_none(lambda: DepthAnything3.from_pretrained(folder, metric_model=metric, dtype=dtype, devices=devices))


def load_for(progress: Progress, options: RunOptions) -> DepthAnything3:
    """`load` with what the options say."""
    names = (options.model_dir, options.metric_model)
    return load(progress, *names, revision=options.revision, dtype=options.dtype, devices=options.devices)


def check_export(options: RunOptions) -> None:
    """Raises an OSError unless the process that writes can do so."""
    import jax

    from da3jax.outputs import check_writable

    if jax.process_index() == 0:
        check_writable(options.export_dir)


def outputs_for(export_format: str, config: Config, also: Sequence[str] = ()) -> list[str]:
    """What the network is to compute: what only the archives hold is asked for on their account only, or if it is among `also`."""
    from da3jax.outputs import check_formats

    archives = {"npz", "mini_npz"} & set(check_formats(export_format))
    unused = {"taps", "raw_gs", *(() if archives else ("ray", "metric_depth"))}
    return [name for name in config.outputs if name not in unused or name in also]


def run(images: Sequence[pathlib.Path], options: RunOptions, *, independent: bool = False) -> None:
    """Runs the network on the images as one scene, or on each by itself, writes the exports and prints their paths.

    Raises:
        ValueError, OSError: what the library refuses: an image, the model, the export folder.
    """
    import jax

    from da3jax import to_metres
    from da3jax.inputs.aruco import check_markers
    from da3jax.parallel.processes import all_or_none

    progress = join(options)
    all_or_none(lambda: check_export(options))
    if options.aruco_size is not None:
        if independent and len(images) > 1:
            raise ValueError("--aruco-size gives a scene its scale, and --independent images have one each; leave one of the two out")
        with progress.step("look for markers"):  # before the network takes its time
            all_or_none(lambda: jax.process_index() > 0 or check_markers(images, options.aruco_dictionary))
    model = load_for(progress, options)
    prediction = infer(progress, model, images, options, independent=independent)
    if jax.process_index() > 0:
        return
    if options.aruco_size is not None:
        prediction = to_metres(prediction, aruco_size=options.aruco_size, images=images, aruco_dictionary=options.aruco_dictionary)
    if prediction.is_metric:
        progress.say(_metres(prediction))
    write(progress, prediction, options)


def infer(
    progress: Progress,
    model: DepthAnything3,
    images: Sequence[Any],
    options: RunOptions,
    *,
    independent: bool = False,
    also: Sequence[str] = (),
) -> Prediction:
    """What the network says of the images: what the exports hold, and the outputs `also`, where it has them."""
    with progress.step(f"{len(images)} view{'s' * (len(images) > 1)}, compiling included"):
        return model.inference(
            list(images),
            use_ray_pose=options.use_ray_pose,
            ref_view_strategy=options.ref_view_strategy,
            process_res=options.process_res,
            process_res_method=options.process_res_method,
            independent=independent,
            outputs=outputs_for(options.export_format, model.config, also),
        )


def write(progress: Progress, prediction: Prediction, options: RunOptions) -> None:
    """Writes the exports and prints their paths."""
    from da3jax.outputs import export

    with progress.step(f"write {options.export_format}"):
        written = export(
            prediction,
            options.export_format,
            options.export_dir,
            conf_thresh_percentile=options.conf_thresh_percentile,
            num_max_points=options.num_max_points,
            show_cameras=options.show_cameras,
        )
    for path in written:
        typer.echo(path)


def _metres(prediction: Prediction) -> str:
    """That depth is in metres, by what, and how well it fits."""
    said = "depth is in metres"
    if prediction.scale_factor is not None and np.ndim(prediction.scale_factor) == 0:
        said += f": 1 in the network's units is {float(prediction.scale_factor):.4g} m"
    if prediction.scale_residual is not None and np.ndim(prediction.scale_residual) == 0:
        said += f", which leaves {float(prediction.scale_residual):.2g} m (root mean square)"
    return said
