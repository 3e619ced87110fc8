"""Images in, files out: what `auto`, `image` and `images` share."""

import contextlib
import functools
import pathlib
import time
from collections.abc import Iterator, Sequence

import typer
from rich.console import Console
from rich.text import Text

from da3jax.cli.options import RunOptions


@contextlib.contextmanager
def timed(console: Console, what: str) -> Iterator[None]:
    """Says how long `what` took."""
    start = time.perf_counter()
    yield
    console.print(Text(f"{what}: {time.perf_counter() - start:.1f} s"), soft_wrap=True)


@contextlib.contextmanager
def step(console: Console, what: str) -> Iterator[None]:
    """Shows that `what` goes on, and says how long it took."""
    with timed(console, what), console.status(Text(f"{what} …")):
        yield


def run(images: Sequence[pathlib.Path], options: RunOptions, *, independent: bool = False) -> None:
    """Runs the network on the images as one scene, or on each by itself, writes the exports and prints their paths.

    Raises:
        ValueError, OSError: what the library refuses: an image, the model, the export folder.
    """
    from da3jax import DepthAnything3, to_metres
    from da3jax.inputs.aruco import check_dictionary
    from da3jax.outputs import check_formats, check_writable, export
    from da3jax.weights import hub

    check_writable(options.export_dir)
    if options.aruco_size is not None:
        check_dictionary(options.aruco_dictionary)
    if options.aruco_size is not None and independent and len(images) > 1:
        raise ValueError("--aruco-size gives a scene its scale, and with --independent there are as many scenes as images; leave one out")
    console = Console(stderr=True)
    resolve = functools.partial(hub.resolve, progress=console.is_terminal)
    folder = resolve(options.model_dir, revision=options.revision)
    metric = None if options.metric_model is None else resolve(options.metric_model)
    with step(console, f"load {options.model_dir}" + (f" and {options.metric_model}" if metric else "")):
        model = DepthAnything3.from_pretrained(folder, metric_model=metric, dtype=options.dtype)
    # What only the archives hold is computed for them only.
    archives = {"npz", "mini_npz"} & set(check_formats(options.export_format))
    unused = {"taps", "raw_gs", *(() if archives else ("ray", "metric_depth"))}
    outputs = [name for name in model.config.outputs if name not in unused]
    with step(console, f"{len(images)} view{'s' * (len(images) > 1)}, compiling included"):
        prediction = model.inference(
            list(images),
            use_ray_pose=options.use_ray_pose,
            ref_view_strategy=options.ref_view_strategy,
            process_res=options.process_res,
            process_res_method=options.process_res_method,
            independent=independent,
            outputs=outputs,
        )
    if options.aruco_size is not None:
        prediction = to_metres(prediction, aruco_size=options.aruco_size, images=images, aruco_dictionary=options.aruco_dictionary)
    if prediction.is_metric:
        console.print("depth is in metres", highlight=False)
    with step(console, f"write {options.export_format}"):
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
