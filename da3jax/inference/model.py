"""Photographs to depth, rays and cameras: load, prepare, run, hand over."""

from __future__ import annotations

import dataclasses
import logging
import pathlib
import time
from collections.abc import Sequence
from functools import partial
from operator import index, itemgetter
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from da3jax import outputs as formats
from da3jax import weights
from da3jax.config import REF_VIEW_STRATEGIES, Config, NestedConfig, load_config, one_of
from da3jax.geometry import Solution, cameras_from_rays, points_from_rays, unproject
from da3jax.inputs import preprocess
from da3jax.models import compute_dtype, forward, is_stacked, stack_layers, unstack_layers
from da3jax.types import NetworkOutput, Params, Prediction

logger = logging.getLogger(__name__)

IMAGES_AT_A_TIME = 8
"""Images that go through the network together when each is its own scene."""

SKY_MASK_THRESHOLD = 0.5
"""From here on `Prediction.sky` is true, as in the official result."""


class DepthAnything3:
    """A network with its weights.

    Attributes:
        params: nested dict of float32 arrays, as `da3jax.forward` takes it; stacked for scanning where that is the better choice.
        config: what the network is made of.
        dtype: `float32`, `bfloat16` or None: float32 on CPU, bfloat16 on accelerators.
    """

    def __init__(self, params: Params, config: Config | str, *, dtype: str | None = None):
        """Wraps parameters that are there already.

        Args:
            params: nested dict of float32 arrays, an entry a block or stacked.
            config: what they belong to, or the name of a preset.
            dtype: as `from_pretrained`.

        Raises:
            ValueError: an unknown preset or dtype.
        """
        self.params, self.config, self.dtype = params, load_config(config), dtype
        compute_dtype(dtype)
        static = ("use_ray_pose", "ref_view_strategy", "outputs", "export_feat_layers")
        self._run = jax.jit(partial(_run, config=self.config, dtype=dtype), static_argnames=static)

    @classmethod
    def from_pretrained(cls, source: str | pathlib.Path, *, dtype: str | None = None, revision: str | None = None) -> DepthAnything3:
        """Loads weights.

        Args:
            source: hub id (`depth-anything/DA3-SMALL`), a folder as released, or one that `da3jax convert` wrote.
            dtype: of the products in the backbone; None for float32 on CPU and bfloat16 on accelerators.
            revision: commit or branch of a hub id; by default the one this version of da3jax was made for.

        Raises:
            ValueError: the weights are broken or not those of the network beside them; all faults are named.
            OSError: they are not there, or cannot be fetched.
        """
        compute_dtype(dtype)
        params, config = weights.load(source, revision=revision)
        backbone = (config.anyview if isinstance(config, NestedConfig) else config).backbone
        # Scanned layers compile faster, and cost nothing on an accelerator; a CPU runs the loop 10 % faster.
        if jax.default_backend() != "cpu" and backbone.depth >= 24:
            params = stack_layers(params, config)
        return cls(params, config, dtype=dtype)

    def save_pretrained(self, folder: str | pathlib.Path) -> pathlib.Path:
        """Writes `model.safetensors` and `config.json` as released, bit for bit; PyTorch's Depth Anything 3 opens them.

        Returns:
            The folder.

        Raises:
            FileExistsError: there are weights in `folder` already.
            OSError: `folder` cannot be written.
        """
        half = self.params["anyview"] if isinstance(self.config, NestedConfig) else self.params
        params = unstack_layers(self.params, self.config) if is_stacked(half) else self.params
        return weights.save_pretrained(params, self.config, folder)

    def inference(
        self,
        image: Sequence[Any] | str | pathlib.Path,
        *,
        use_ray_pose: bool = False,
        ref_view_strategy: str = REF_VIEW_STRATEGIES[0],
        process_res: int = 504,
        process_res_method: str = "upper_bound_resize",
        independent: bool = False,
        outputs: Sequence[str] | None = None,
        export_dir: str | pathlib.Path | None = None,
        export_format: str = "mini_npz",
        export_feat_layers: Sequence[int] | None = None,
        conf_thresh_percentile: float = 40.0,
        num_max_points: int = 1_000_000,
        show_cameras: bool = True,
        as_numpy: bool = True,
    ) -> Prediction:
        """Depth, rays and cameras of some images; names and defaults are those of the official API.

        Args:
            image: files, PIL images or arrays (H, W, 3), (H, W, 4) or (H, W) of uint8 or uint16: views of one scene, in any order.
            use_ray_pose: cameras are fitted to the rays (`da3jax.geometry.cameras_from_rays`) instead of decoded from the special token.
            ref_view_strategy: how the view whose frame is the world is chosen, from three views on.
            process_res: pixels of the side that `process_res_method` names.
            process_res_method: `upper_bound_resize` (longest side), `lower_bound_resize` (shortest), or `…_crop`.
            independent: each image is a scene of its own; by default they are views of one scene and see each other.
            outputs: what to compute: `depth` and any of `ray`, `cameras`, `points`, `sky`, `metric_depth` that the network has; by default
                all.
            export_dir: folder for files in `export_format`; nothing in it is removed.
            export_format: names joined by `-`, out of `da3jax.outputs.FORMATS`.
            export_feat_layers: blocks, from 0, whose features come in `Prediction.aux`.
            conf_thresh_percentile: for `glb`: points below this percentile of confidence are left out.
            num_max_points: for `glb`: at most so many points.
            show_cameras: for `glb`: whether cameras are drawn.
            as_numpy: False leaves the result on the device.

        Returns:
            The prediction for the N images, in their order. The world frame is the reference view's. With `independent` there is no
            common world: `extrinsics` is None, and rays and points are in each image's own frame.

        Raises:
            ValueError: an image, option or combination that cannot be used; the message says which and what would do.
            OSError: a file that cannot be read or written.
        """
        if export_dir is not None:
            formats.check_formats(export_format)
            formats.check_options(conf_thresh_percentile=conf_thresh_percentile, num_max_points=num_max_points)
            formats.check_writable(export_dir)
        views = preprocess(image, process_res=process_res, process_res_method=process_res_method)
        options = {
            "use_ray_pose": use_ray_pose,
            "ref_view_strategy": ref_view_strategy,
            "outputs": self._outputs(outputs, use_ray_pose),
            "export_feat_layers": () if export_feat_layers is None else tuple(map(index, export_feat_layers)),
        }
        start = time.perf_counter()
        images = np.asarray(views.images)
        result = self._run_independent(images, options) if independent else self._run(self.params, images, **options)
        if independent:
            result = result._replace(network=dataclasses.replace(result.network, extrinsics=None))
        prediction = _prediction(result, views.processed_images)
        prediction = jax.device_get(prediction) if as_numpy else jax.block_until_ready(prediction)
        if use_ray_pose and (degenerate := np.flatnonzero(result.solution.result).tolist()):
            logger.warning("the rays of views %s determine no camera; theirs is the identity", degenerate)
        logger.info("%d images of %d × %d in %.2f s", images.shape[1], *images.shape[2:4], time.perf_counter() - start)
        if export_dir is not None:
            formats.export(
                prediction,
                export_format,
                export_dir,
                conf_thresh_percentile=conf_thresh_percentile,
                num_max_points=num_max_points,
                show_cameras=show_cameras,
            )
        return prediction

    def _outputs(self, outputs: Sequence[str] | None, use_ray_pose: bool) -> tuple[str, ...]:
        known = [name for name in self.config.outputs if name not in ("taps", "raw_gs")]
        points = ["points"] if {"ray", "cameras"} & set(known) else []
        names = (outputs,) if isinstance(outputs, str) else tuple([*known, *points] if outputs is None else outputs)
        for name in names:
            one_of(f"output of {self.config.name}", name, [*known, *points])
        if "points" in names and not {"ray", "cameras"} & set(names) and not use_ray_pose:
            raise ValueError(f"outputs {list(names)} lacks 'ray' or 'cameras', which points are made of")
        if "depth" not in names:
            raise ValueError(f"outputs {list(names)} lacks 'depth', which every prediction has; da3jax.forward computes the others alone")
        if use_ray_pose:
            if "ray" not in known:
                raise ValueError(f"use_ray_pose needs rays, which {self.config.name} does not predict; it has {', '.join(known)}")
            names = (*(name for name in names if name != "cameras"), "ray")
        return tuple(name for name in (*known, "points") if name in names)  # one program whatever the order

    def _run_independent(self, images: np.ndarray, options: dict[str, Any]) -> _Result:
        """Each view of (1, S, H, W, 3) as a scene of one view; groups of one size, so that one program serves all."""
        scenes = images[0][:, None]
        group = min(len(scenes), IMAGES_AT_A_TIME)
        results = []
        for start in range(0, len(scenes), group):
            part = scenes[start : start + group]
            padded = np.concatenate([part, np.repeat(part[-1:], group - len(part), axis=0)])
            out = self._run(self.params, padded, **options)
            results.append(jax.tree.map(itemgetter(slice(len(part))), out))
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *results)


class _Result(NamedTuple):
    """What one program gives, over (B, S)."""

    network: NetworkOutput
    solution: Solution | None
    points: jax.Array | None


def _run(params: Params, images: jax.Array, *, config: Config, use_ray_pose: bool, **options: Any) -> _Result:
    """The network; with `use_ray_pose` cameras out of its rays in the place of its own; and world points."""
    wanted = options.pop("outputs")
    names = tuple(name for name in wanted if name != "points")
    output, solution, points = forward(params, images, config=config, outputs=names, **options), None, None
    if use_ray_pose:
        solution = cameras_from_rays(output.ray, output.ray_conf)
        intrinsics = solution.intrinsics(*images.shape[2:4])
        output = dataclasses.replace(output, extrinsics=solution.extrinsics, intrinsics=intrinsics)
    if "points" in wanted:
        rays = output.ray is not None
        points = points_from_rays(output.depth, output.ray) if rays else unproject(output.depth, output.intrinsics, output.extrinsics)
    return _Result(output, solution, points)


def _prediction(result: _Result, processed_images: np.ndarray) -> Prediction:
    """Results over (B, S) to a prediction over N = B · S views."""
    output, solution, points = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), result)
    aux = {f"feat_layer_{layer}": features for layer, features in (output.features or {}).items()}
    if output.metric_depth is not None:
        aux["metric_depth"] = output.metric_depth
    return Prediction(
        depth=output.depth,
        conf=output.depth_conf,
        extrinsics=output.extrinsics,
        intrinsics=output.intrinsics,
        ray=output.ray,
        ray_conf=output.ray_conf,
        ray_residual=None if solution is None else solution.residual,
        points=points,
        sky=None if output.sky is None else output.sky >= SKY_MASK_THRESHOLD,
        processed_images=processed_images,
        aux=aux,
    )
