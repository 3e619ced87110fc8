"""Photographs to depth, rays and cameras: load, prepare, run, hand over."""

from __future__ import annotations

import logging
import pathlib
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh

from da3jax import outputs as formats
from da3jax import weights
from da3jax.config import REF_VIEW_STRATEGIES, Config, NestedConfig, load_config
from da3jax.inference.ahead import trace
from da3jax.inference.compilation_cache import use_compilation_cache
from da3jax.inference.export import write_exported
from da3jax.inference.files import check_export
from da3jax.inference.loading import load
from da3jax.inference.native import to_native
from da3jax.inference.placing import check_mesh, placed
from da3jax.inference.plan import check_options, planned
from da3jax.inference.prediction import to_prediction
from da3jax.inference.program import KnownCameras, Result, Task, run
from da3jax.inference.running import Runner
from da3jax.inputs import lazy_images, preprocess, several
from da3jax.models import compute_dtype, is_stacked, unstack_layers
from da3jax.ops.target import target_platform
from da3jax.parallel import fsdp_shardings, mesh_of
from da3jax.parallel.processes import all_or_none
from da3jax.schema import blocks_of
from da3jax.types import Params, Prediction

logger = logging.getLogger(__name__)


class DepthAnything3:
    """A network with its weights.

    Attributes:
        params: nested dict of float32 arrays, as `da3jax.forward` takes it; stacked for scanning where that is the better choice.
        mesh: the devices that share the views of a scene, or independent images, and along `fsdp` the parameters; None for one device.
        bucket_views: whether a scene is filled up to 1, 2, 3, 4, 6, 8, 12, 16, 24, … views, so that one program serves several numbers of
            views. The result is the same to rounding. What is filled up takes time like any view: False where each number of views comes
            again and again, and compiling it once pays; on a CPU five views of da3-small take 27 % longer in a program for six.

    What is compiled is kept for the next process in `~/.cache/da3jax/compiled` (below `$XDG_CACHE_HOME`, if that is set), unless JAX has a
    cache folder already; the environment variable `DA3JAX_COMPILATION_CACHE` names another folder, or is `off`.
    """

    def __init__(self, params: Params, config: Config | str, *, dtype: str | None = None, mesh: Mesh | None = None):
        """Wraps parameters that are there already.

        Args:
            params: nested dict of float32 arrays, an entry a block or stacked.
            config: what they belong to, or the name of a preset.
            dtype: as `from_pretrained`.
            mesh: likewise.

        Raises:
            ValueError: an unknown preset or dtype, or a mesh that shares scenes, of which `inference` has one.
        """
        if mesh is not None:
            check_mesh(mesh)
            params = placed(params, fsdp_shardings(params, mesh))
        self.params, self.mesh, self._config, self._dtype = params, mesh, load_config(config), dtype
        self.bucket_views = True
        compute_dtype(dtype)
        use_compilation_cache()
        run_this = partial(run, config=self._config, dtype=dtype)
        self._run = jax.jit(run_this, static_argnames=("task", "mesh"))
        self._run_in_place = jax.jit(run_this, static_argnames=("task", "mesh"), donate_argnames="images")

    @property
    def config(self) -> Config:
        """What the network is made of."""
        return self._config

    @property
    def dtype(self) -> str | None:
        """`float32`, `bfloat16` or None: float32 on CPU, bfloat16 on accelerators."""
        return self._dtype

    @classmethod
    def from_pretrained(
        cls,
        source: str | pathlib.Path,
        *,
        metric_model: str | pathlib.Path | None = None,
        dtype: str | None = None,
        revision: str | None = None,
        mesh: Mesh | None = None,
        devices: int | Sequence[jax.Device] | None = None,
    ) -> DepthAnything3:
        """Loads weights.

        Args:
            source: hub id (`depth-anything/DA3-SMALL`), a folder as released, one that `da3jax convert` wrote, or `da3-tiny`, which needs
                no download: it is small, made of rendered scenes, and for trying things out.
            metric_model: likewise, of a metric network (`depth-anything/DA3METRIC-LARGE`) that brings the scenes of any network with
                cameras to metres, as in the released nested ones.
            dtype: of the products in the backbone; None for float32 on CPU and bfloat16 on accelerators.
            revision: commit or branch of a hub id; by default the one this version of da3jax was made for. Of `source` alone.
            mesh: of `da3jax.make_mesh(1, view=-1)`, whose devices share the views of a scene, any number of them, or independent images.
                Each has all parameters, or, with `make_mesh(1, fsdp=4, view=-1)`, a quarter of them and those of one block at a time;
                only its own part is read (of a converted folder, whose hashes are of whole arrays, one array at a time is). None for
                one device.
            devices: instead of `mesh`, how many of `jax.devices()` share the views, or which devices do.

        Raises:
            ValueError: the weights are broken or not those of the network beside them, all faults named; or the two make no pair; or the
                mesh shares scenes, of which `inference` has one; or there are no such devices.
            OSError: they are not there, or cannot be fetched.
        """
        compute_dtype(dtype)
        if devices is not None:
            if mesh is not None:
                raise ValueError("mesh and devices both say which devices share the views; give one of the two")
            mesh = mesh_of(devices)
        if mesh is not None:
            check_mesh(mesh)
        params, config = load(source, metric_model, revision=revision, mesh=mesh)
        return cls(params, config, dtype=dtype, mesh=mesh)

    def save_pretrained(self, folder: str | pathlib.Path) -> pathlib.Path:
        """Writes `model.safetensors` and `config.json` as released, bit for bit; PyTorch's Depth Anything 3 opens its own networks.

        Returns:
            The folder.

        Raises:
            FileExistsError: there are weights in `folder` already.
            OSError: `folder` cannot be written.
        """
        return weights.save_pretrained(self._by_block(), self.config, folder)

    def export(
        self,
        folder: str | pathlib.Path,
        height: int,
        width: int,
        *,
        known_cameras: bool = False,
        ref_view_strategy: str = REF_VIEW_STRATEGIES[0],
        outputs: Sequence[str] | None = None,
    ) -> tuple[pathlib.Path, pathlib.Path]:
        """Writes `da3jax.forward` as a StableHLO program for CPU, CUDA and TPU, and the weights beside it, for use with jax alone.

            program = jax.export.deserialize(pathlib.Path("forward.stablehlo").read_bytes())
            result = program.call(dict(numpy.load("params.npz")), images)  # {"depth": (B, S, H, W), …}

        Scenes and views are as many as the images (B, S, H, W, 3) have, float32 and ImageNet-normalised. Products are float32 unless
        `dtype` of this model says otherwise. Needs the extra `export`.

        Args:
            folder: where `forward.stablehlo` and `params.npz` go.
            height: pixels of the images, a multiple of 14.
            width: likewise.
            known_cameras: whether the program also takes extrinsics (B, S, 3, 4), world-to-camera, and intrinsics (B, S, 3, 3), pixels.
            ref_view_strategy: as `da3jax.forward`.
            outputs: as `da3jax.forward`.

        Returns:
            The paths of the program and of the weights.

        Raises:
            ValueError: a size, name or combination that the network does not take.
            FileExistsError: there is an export in `folder` already.
            ModuleNotFoundError: flatbuffers is not installed.
            OSError: `folder` cannot be written.
        """
        options = {"known_cameras": known_cameras, "ref_view_strategy": ref_view_strategy, "outputs": outputs}
        return write_exported(folder, self._by_block(), self.config, height, width, dtype=self.dtype or "float32", **options)

    def _by_block(self) -> Params:
        """The parameters with an entry a block."""
        half = self.params["anyview"] if isinstance(self.config, NestedConfig) else self.params
        return unstack_layers(self.params, self.config) if is_stacked(half) else self.params

    def inference(
        self,
        image: Sequence[Any] | str | pathlib.Path,
        *,
        extrinsics: Sequence[np.ndarray | None] | np.ndarray | None = None,
        intrinsics: Sequence[np.ndarray | None] | np.ndarray | None = None,
        align_to_input_ext_scale: bool = True,
        infer_gs: bool = False,
        official_gs: bool = False,
        use_ray_pose: bool = False,
        ref_view_strategy: str = REF_VIEW_STRATEGIES[0],
        process_res: int | None = None,
        process_res_method: str = "upper_bound_resize",
        native_resolution: bool = False,
        max_long_side: int | None = None,
        fast_decode: bool = False,
        independent: bool = False,
        outputs: Sequence[str] | None = None,
        export_dir: str | pathlib.Path | None = None,
        export_format: str = "mini_npz",
        export_feat_layers: Sequence[int] | None = None,
        conf_thresh_percentile: float = 40.0,
        num_max_points: int = 1_000_000,
        show_cameras: bool = True,
        feat_vis_fps: float = 15.0,
        export_kwargs: Mapping[str, Any] | None = None,
        as_numpy: bool = True,
    ) -> Prediction:
        """Depth, rays and cameras of some images; names and defaults are those of the official API.

        In several processes (`da3jax.parallel.initialize`), with a mesh of all their devices, each makes this call with all images, reads
        those that its own devices see (all for `native_resolution`), and returns the whole prediction; process 0 writes the files.

        Cameras that are known (None stands for a view whose camera is not) serve as far as they go:

        | known                   | what happens                                                                                     |
        |-------------------------|--------------------------------------------------------------------------------------------------|
        | both, of all views      | the network is conditioned on them, and the result is brought into their world, at their scale   |
        | extrinsics of all views | the same, with intrinsics of a first pass of the network where there are none                    |
        | extrinsics of some      | the network, which never learned from some alone, is not conditioned; the result is aligned      |
        | intrinsics alone        | they do not condition the network; they are the result's, and metres and points follow from them |

        Known cameras come back as they were given, in float32. `Prediction.conditioned` and `Prediction.alignment` say what happened: one
        view, or cameras that only turn, determine no scale, and depth keeps the network's.

        A metric network gives metres where all focal lengths are known, from `intrinsics` or a photograph's EXIF; a nested one, or one
        loaded with `metric_model`, wherever there is more than sky to see, unless the result is brought to the scale of known extrinsics.

        Args:
            image: files, PIL images, arrays (H, W, 3), (H, W, 4) or (H, W) of uint8 or uint16, or `da3jax.types.LazyImage`, as frames of
                videos are: views of one scene, in any order.
            extrinsics: (N, 3 or 4, 4) world-to-camera with OpenCV axes; or a list of such matrices, None for a view without.
            intrinsics: (N, 3, 3) in pixels of the upright images at their own size; or a list, None for a view without.
            align_to_input_ext_scale: False leaves depth and rays as the network has them and brings the known cameras into its world.
            infer_gs: whether `Prediction.gaussians` is computed, by networks that have a head for it: in the world of depth and cameras.
                `gs_ply` in `export_format` asks for it, too.
            official_gs: whether the Gaussians are the official code's, for comparison, with the faults that
                `da3jax.geometry.gaussians_from_raw` names, and in the network's own world, whatever the rest is brought to.
            use_ray_pose: cameras are fitted to the rays (`da3jax.geometry.cameras_from_rays`) instead of decoded from the special token.
            ref_view_strategy: how the view whose frame is the world is chosen, from three views on.
            process_res: pixels of the side that `process_res_method` names; None is the network's own, 504 for all that are released.
            process_res_method: `upper_bound_resize` (longest side), `lower_bound_resize` (shortest), or `…_crop`.
            native_resolution: whether the result is at the size of the upright images (`da3jax.to_native`), which are read again for that.
            max_long_side: images whose longer side would have more pixels than this are refused.
            fast_decode: whether large JPEG files are decoded at a reduced size, faster and not quite the same (see `da3jax.preprocess`).
            independent: each image is a scene of its own; by default they are views of one scene and see each other.
            outputs: what to compute: `depth` and any of `ray`, `cameras`, `points`, `sky`, `metric_depth` that the network has; by default
                all. What that takes comes too: cameras where some are known, and with a nested network all that metres are made of.
            export_dir: folder for files in `export_format`; nothing in it is removed.
            export_format: names joined by `-`, out of `da3jax.outputs.FORMATS`.
            export_feat_layers: blocks, from 0, whose features come in `Prediction.aux`.
            conf_thresh_percentile: of `export_kwargs`, as are the next three; they have official names of their own.
            num_max_points: likewise.
            show_cameras: likewise.
            feat_vis_fps: likewise.
            export_kwargs: other fields of `da3jax.outputs.ExportOptions` by name, all but `images`.
            as_numpy: False leaves the result on the device. Otherwise an accelerator sends what it is done with to the host view by view.

        Returns:
            The prediction for the N images, in their order. The world frame is that of known extrinsics, else the reference view's. With
            `independent` there is no common world: `extrinsics` is None, and rays and points are in each image's own frame.

        Raises:
            ValueError: an image, option or combination that cannot be used; the message says which and what would do.
            OSError: a file that cannot be read or written.
        """
        image = several(image)
        export_feat_layers = blocks_of("export_feat_layers", () if export_feat_layers is None else export_feat_layers)
        many = jax.process_count() > 1 and self.mesh is not None
        if export_dir is not None:
            options = {"conf_thresh_percentile": conf_thresh_percentile, "num_max_points": num_max_points, "show_cameras": show_cameras}
            options |= {"feat_vis_fps": feat_vis_fps, **(export_kwargs or {})}
            how = {"export_feat_layers": export_feat_layers, "independent": independent, "use_ray_pose": use_ray_pose, "together": many}
            how["intrinsics"] = intrinsics is not None
            names = check_export(export_dir, export_format, options, image, self.config, **how)
            infer_gs = infer_gs or "gs_ply" in names
        if native_resolution and infer_gs:
            raise ValueError("Gaussians belong to the processed images' pixels, which native_resolution replaces; ask for one of the two")
        if native_resolution and not as_numpy:
            raise ValueError("native_resolution is computed on the host, and as_numpy=False leaves the result on the device; leave one out")
        if many and not as_numpy:
            raise ValueError("as_numpy=False leaves results on the devices, where other processes' cannot be read; leave it out")
        asked = {
            "use_ray_pose": use_ray_pose,
            "ref_view_strategy": ref_view_strategy,
            "export_feat_layers": export_feat_layers,
            "independent": independent,
            "infer_gs": infer_gs,
            "official_gs": official_gs,
        }
        posed = isinstance(extrinsics, Sequence | np.ndarray) and any(matrix is not None for matrix in extrinsics)
        check_options(self.config, extrinsics=posed, **asked)  # before images are read, which may take long
        runner = self._runner
        read = partial(runner.read_own, independent=independent) if many else preprocess
        views = read(
            image,
            extrinsics=extrinsics,
            intrinsics=intrinsics,
            use_exif=not isinstance(self.config, NestedConfig) and self.config.canonical_focal is not None,
            process_res=self.config.process_res if process_res is None else process_res,
            process_res_method=process_res_method,
            max_long_side=max_long_side,
            fast_decode=fast_decode,
        )
        views, task = planned(
            self.config,
            views,
            outputs=outputs,
            align_to_input_ext_scale=align_to_input_ext_scale,
            as_numpy=as_numpy,
            mesh=self.mesh,
            **asked,
        )
        start = time.perf_counter()
        known = KnownCameras.of(views.extrinsics, views.intrinsics)
        result = (runner.run_independent if independent else runner.run_jointly)(views.images, known, task, as_numpy)
        prediction = jax.block_until_ready(to_prediction(result, views, known, task, self.config))
        logger.info("%d images of %d × %d in %.2f s", *views.images.shape[1:4], time.perf_counter() - start)
        if native_resolution:
            prediction = to_native(prediction, image)
        if export_dir is not None:
            write = partial(formats.export, prediction, export_format, export_dir, images=lazy_images(image), **options)
            all_or_none(lambda: jax.process_index() > 0 or write())
        return prediction

    def compile(
        self,
        views: int,
        height: int,
        width: int,
        *,
        extrinsics: bool = False,
        intrinsics: bool = False,
        **options: Any,
    ) -> float:
        """Compiles ahead what `inference` with the same options will run, so that it runs at once; nothing is computed.

        It stays in this object, and in the compilation cache for the next process.

        Args:
            views: how many images.
            height: pixels of the processed images, a multiple of 14: 504 × 378 photographs, or 4000 × 3000 ones with the default
                `process_res`, have 378.
            width: likewise.
            extrinsics: whether they will be given, for all views.
            intrinsics: likewise; or read from EXIF, for a metric network.
            **options: those of `inference` that a program is made for: `align_to_input_ext_scale`, `infer_gs`, `official_gs`,
                `use_ray_pose`, `ref_view_strategy`, `independent`, `outputs`, `export_feat_layers`.

        Returns:
            Seconds that it took.

        Raises:
            ValueError: a size that no processed image has, or what `inference` would refuse.
        """
        start = time.perf_counter()
        self.trace(views, height, width, extrinsics=extrinsics, intrinsics=intrinsics, **options).lower().compile()
        return time.perf_counter() - start

    def trace(
        self, views: int, height: int, width: int, *, extrinsics: bool = False, intrinsics: bool = False, **options: Any
    ) -> jax.stages.Traced:
        """What `compile` compiles. Of parameters the shapes are enough: leaves of `params` may be `jax.ShapeDtypeStruct`."""
        return trace(self._runner, self.config, views, height, width, extrinsics=extrinsics, intrinsics=intrinsics, **options)

    @property
    def _runner(self) -> Runner:
        """For one call, with what the attributes are now."""
        return Runner(self.params, self._program, self.mesh, self.bucket_views)

    def _program(self, task: Task) -> Callable[..., Result]:
        """What runs `task`. Points are of the images' size and take their place; not on a CPU, which has the images from the caller."""
        return self._run_in_place if "points" in task.outputs and target_platform() != "cpu" else self._run
