"""`da3jax compile`."""

from typing import Annotated

import typer

from da3jax.cli.failures import failures_in_a_sentence
from da3jax.cli.option_kinds import MOST, number
from da3jax.cli.options import (
    Device,
    Devices,
    Dtype,
    ExportFeat,
    ExportFormat,
    Independent,
    InferGs,
    MetricModel,
    ModelDir,
    OfficialGs,
    RefViewStrategy,
    Revision,
    UseRayPose,
    check_computed,
    feature_layers,
    wants_gaussians,
)
from da3jax.cli.processes import use
from da3jax.cli.progress import Progress, print_path
from da3jax.cli.run import load, outputs_for
from da3jax.config import PACKAGED, REF_VIEW_STRATEGIES


@failures_in_a_sentence()
def command(
    views: Annotated[int, number(1, MOST, "How many images.")],
    height: Annotated[int, number(14, MOST, "Pixels of a processed image, a multiple of 14.")],
    width: Annotated[int, number(14, MOST, "Likewise.")],
    model_dir: ModelDir = PACKAGED,
    metric_model: MetricModel = None,
    export_format: ExportFormat = "glb",
    ref_view_strategy: RefViewStrategy = REF_VIEW_STRATEGIES[0],
    use_ray_pose: UseRayPose = False,
    independent: Independent = False,
    export_feat: ExportFeat = "",
    infer_gs: InferGs = False,
    official_gs: OfficialGs = False,
    known_cameras: Annotated[
        bool,
        typer.Option(
            "--known-cameras",
            help="The cameras of all views are known, as from COLMAP or Nerfstudio; of a metric network the focal lengths, as from EXIF.",
        ),
    ] = False,
    revision: Revision = None,
    device: Device = None,
    dtype: Dtype = None,
    devices: Devices = None,
) -> None:
    """Compile ahead what the same options will run; print the folder it is kept in.

    Cameras that are known of some views only, and --no-align-to-input-ext-scale, are compiled when they are run.
    """
    import jax

    from da3jax.inference.plan import check_size

    check_size(height, width)
    check_computed(export_format, export_feat, infer_gs=infer_gs)
    use(device)
    progress = Progress()
    model = load(progress, model_dir, metric_model, revision=revision, dtype=dtype, devices=devices)
    folder = jax.config.jax_compilation_cache_dir
    if folder is None:
        raise ValueError("there is no compilation cache to fill: DA3JAX_COMPILATION_CACHE is off, or its folder cannot be written")
    with progress.step(f"compile {views} view{'s' * (views > 1)} of {width} × {height}"):
        model.compile(
            views,
            height,
            width,
            extrinsics=known_cameras and not independent and "cameras" in model.config.outputs,
            intrinsics=known_cameras,
            use_ray_pose=use_ray_pose,
            ref_view_strategy=ref_view_strategy,
            independent=independent,
            outputs=outputs_for(export_format, model.config),
            export_feat_layers=feature_layers(export_feat),
            infer_gs=wants_gaussians(infer_gs, export_format),
            official_gs=official_gs,
        )
    print_path(folder)
