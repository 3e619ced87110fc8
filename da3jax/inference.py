"""Photographs to depth, rays and cameras: load, prepare, run, hand over."""

from __future__ import annotations

import dataclasses
import logging
import pathlib
import time
from collections.abc import Sequence
from functools import partial
from operator import itemgetter
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from da3jax import outputs as formats
from da3jax import weights
from da3jax.config import REF_VIEW_STRATEGIES, Config, NestedConfig, load_config, one_of
from da3jax.inputs import preprocess
from da3jax.models import compute_dtype, forward, is_stacked, stack_layers, unstack_layers
from da3jax.types import NetworkOutput, Params, Prediction

logger = logging.getLogger(__name__)

IMAGES_AT_A_TIME = 8
"""Images that go through the network together when each is its own scene."""

SKY_THRESHOLD = 0.5
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

        Raises:
            ValueError: an unknown preset or dtype.
        """
        self.params, self.config, self.dtype = params, load_config(config), dtype
        compute_dtype(dtype)
        self._forward = jax.jit(
            partial(forward, config=self.config, dtype=dtype), static_argnames=("ref_view_strategy", "outputs", "export_feat_layers")
        )

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
            image: files, PIL images or uint8 arrays (H, W, 3): views of one scene, in any order.
            ref_view_strategy: how the view whose frame is the world is chosen, from three views on.
            process_res: pixels of the side that `process_res_method` names.
            process_res_method: `upper_bound_resize` (longest side), `lower_bound_resize` (shortest), or `…_crop`.
            independent: each image is a scene of its own; by default they are views of one scene and see each other.
            outputs: what to compute: `depth` and any of `ray`, `cameras`, `sky`, `metric_depth` that the network has; by default all.
            export_dir: folder for files in `export_format`; nothing in it is removed.
            export_format: names joined by `-`, out of `da3jax.outputs.FORMATS`.
            export_feat_layers: blocks, from 0, whose features come in `Prediction.aux`.
            conf_thresh_percentile: for `glb`: points below this percentile of confidence are left out.
            num_max_points: for `glb`: at most so many points.
            show_cameras: for `glb`: whether cameras are drawn.
            as_numpy: False leaves the result on the device.

        Returns:
            The prediction for the N images, in their order. The world frame is the reference view's. With `independent` there is no
            common world: `extrinsics` is None, and rays are in each image's own frame.

        Raises:
            ValueError: an image, option or combination that cannot be used; the message says which and what would do.
            OSError: a file that cannot be read or written.
        """
        if export_dir is not None:
            formats.check_formats(export_format)
            formats.check_writable(export_dir)
        views = preprocess(image, process_res=process_res, process_res_method=process_res_method)
        names = self._outputs(outputs)
        options = {"ref_view_strategy": ref_view_strategy, "outputs": names, "export_feat_layers": tuple(export_feat_layers or ())}
        start = time.perf_counter()
        images = np.asarray(views.images)
        result = self._run_independent(images, options) if independent else self._forward(self.params, images, **options)
        if independent:
            result = dataclasses.replace(result, extrinsics=None)
        prediction = _prediction(result, views.processed_images)
        prediction = jax.device_get(prediction) if as_numpy else jax.block_until_ready(prediction)
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

    def _outputs(self, outputs: Sequence[str] | None) -> tuple[str, ...]:
        known = [name for name in self.config.outputs if name not in ("taps", "raw_gs")]
        names = (outputs,) if isinstance(outputs, str) else tuple(known if outputs is None else outputs)
        for name in names:
            one_of(f"output of {self.config.name}", name, known)
        if "depth" not in names:
            raise ValueError(f"outputs {list(names)} lacks 'depth', which every prediction has; da3jax.forward computes the others alone")
        return names

    def _run_independent(self, images: np.ndarray, options: dict[str, Any]) -> NetworkOutput:
        """Each view of (1, S, H, W, 3) as a scene of one view; groups of one size, so that one program serves all."""
        scenes = images[0][:, None]
        group = min(len(scenes), IMAGES_AT_A_TIME)
        results = []
        for start in range(0, len(scenes), group):
            part = scenes[start : start + group]
            padded = np.concatenate([part, np.repeat(part[-1:], group - len(part), axis=0)])
            out = self._forward(self.params, padded, **options)
            results.append(jax.tree.map(itemgetter(slice(len(part))), out))
        return jax.tree.map(lambda *leaves: jnp.concatenate(leaves), *results)


def _prediction(result: NetworkOutput, processed_images: np.ndarray) -> Prediction:
    """Network output over (B, S) to a prediction over N = B · S views."""
    result = jax.tree.map(lambda leaf: leaf.reshape(-1, *leaf.shape[2:]), result)
    aux = {f"feat_layer_{layer}": features for layer, features in (result.features or {}).items()}
    if result.metric_depth is not None:
        aux["metric_depth"] = result.metric_depth
    return Prediction(
        depth=result.depth,
        conf=result.depth_conf,
        extrinsics=result.extrinsics,
        intrinsics=result.intrinsics,
        ray=result.ray,
        ray_conf=result.ray_conf,
        sky=None if result.sky is None else result.sky >= SKY_THRESHOLD,
        processed_images=processed_images,
        aux=aux,
    )
