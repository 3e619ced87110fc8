"""The networks: backbone, heads and cameras put together; and `forward`, their pure form."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import linen as nn
from flax.errors import ScopeCollectionNotFound, ScopeParamNotFoundError, ScopeParamShapeError
from jax.sharding import Mesh

from da3jax.config import PATCH_SIZE, REF_VIEW_STRATEGIES, Config, DualDPTConfig, ModelConfig, NestedConfig, load_config
from da3jax.geometry import decode_pose
from da3jax.models.arguments import check_arrays, check_options, known_outputs
from da3jax.models.backbone import Backbone
from da3jax.models.by_views import as_function
from da3jax.models.camera import CameraDecoder, CameraEncoder
from da3jax.models.dpt import DPT
from da3jax.models.dual_dpt import DualDPT
from da3jax.models.gaussian_head import GaussianHead
from da3jax.models.layers import Attend
from da3jax.models.on_mesh import apply_on_mesh
from da3jax.models.sky import fill_sky
from da3jax.models.stacking import is_stacked, unstack_layers
from da3jax.ops.attention import attention
from da3jax.ops.target import target_platform
from da3jax.parallel import Axis, all_views, own_views
from da3jax.schema import blocks_of, one_of
from da3jax.types import NetworkOutput, Params

DTYPES = ("float32", "bfloat16")
ON_HOST = ("depth_conf", "ray", "ray_conf", "raw_gs", "raw_gs_conf")
"""What the network itself does not look at again, and can leave the device at once."""


class Network(nn.Module):
    """Any network but the nested one, from its configuration.

    Attributes:
        config: what it is made of.
        dtype: of the products in the backbone; `None` is float32 on CPU and bfloat16 on accelerators. With `float32` every product,
            wherever it runs, has float32 precision.
        stacked: whether the parameters are those of `stack_layers`.
        sky_fill: whether sky pixels get the depth of the farthest others.
        remat: whether a gradient computes the values inside blocks and heads again, rather than keep them: less memory, more time.
        grouped: whether views go through blocks and heads in groups, so that little beyond keys and values grows with their number; a
            gradient without `remat` keeps the inner values of all views anyway, and on accelerators is faster without.
        view_axis: inside `jax.shard_map`, the axes of the mesh over which the views of a scene lie; None where a device has them all.
    """

    config: ModelConfig
    dtype: str | None = None
    stacked: bool = False
    sky_fill: bool = True
    remat: bool = False
    grouped: bool = True
    in_view_attention: Attend = attention
    cross_view_attention: Attend = attention
    view_axis: Axis | None = None

    def setup(self):
        config = self.config
        if isinstance(config, NestedConfig):
            raise ValueError(f"{config.name} is a nested network; da3jax.NestedNetwork builds it")
        self.backbone = Backbone(
            config.backbone,
            self.stacked,
            self.in_view_attention,
            self.cross_view_attention,
            jnp.dtype(compute_dtype(self.dtype)),
            self.remat,
            self.grouped,
            self.view_axis,
        )
        memory = {"remat": self.remat, "grouped": self.grouped}
        self.head = (DualDPT if isinstance(config.head, DualDPTConfig) else DPT).build(config.head, **memory)
        if config.camera:
            self.camera_encoder = CameraEncoder(config.camera, config.backbone.width)
            self.camera_decoder = CameraDecoder()
        if config.gaussians:
            self.gaussian_head = GaussianHead.build(config.gaussians, **memory)

    def __call__(
        self,
        images: jax.Array,
        extrinsics: jax.Array | None = None,
        intrinsics: jax.Array | None = None,
        *,
        conditioned: jax.Array | None = None,
        view_mask: jax.Array | None = None,
        ref_view_strategy: str = REF_VIEW_STRATEGIES[0],
        outputs: Sequence[str] | None = None,
        export_feat_layers: Sequence[int] = (),
        attention_layers: Sequence[int] = (),
        on_host: Sequence[str] = (),
    ) -> NetworkOutput:
        """As `da3jax.forward`."""
        # On accelerators float32 products are otherwise rounded in secret; heads and cameras stay near float32 beside a bfloat16 backbone.
        exact = compute_dtype(self.dtype) == "float32"
        with jax.default_matmul_precision("highest" if exact else "tensorfloat32"):
            layers = {
                "feature_layers": blocks_of("export_feat_layers", export_feat_layers),
                "attention_layers": blocks_of("attention_layers", attention_layers),
            }
            return self._run(images, extrinsics, intrinsics, conditioned, view_mask, ref_view_strategy, outputs, layers, on_host)

    def _run(self, images, extrinsics, intrinsics, conditioned, view_mask, ref_view_strategy, outputs, layers, on_host) -> NetworkOutput:
        config = self.config
        if isinstance(on_host, str):
            raise ValueError(f"on_host is the string {on_host!r}; it is a list of names, like [{on_host!r}]")
        for name in on_host:
            one_of("output on the host", name, ON_HOST)
        arrays = (images, extrinsics, intrinsics, conditioned, view_mask)
        images, extrinsics, intrinsics, conditioned, view_mask = (None if x is None else jnp.asarray(x) for x in arrays)
        check_arrays(config, images, extrinsics, intrinsics, conditioned, view_mask)
        outputs = check_options(config, ref_view_strategy, outputs, layers)
        if self.is_initializing():
            outputs = config.outputs
        height, width = images.shape[2:4]
        dense = tuple(name for name in outputs if name in ("depth", "ray", "sky"))
        if dense and "depth" in dense and "sky" in config.outputs and self.sky_fill:
            dense = ("depth", "sky")

        everyone, camera_tokens = partial(all_views, axis=self.view_axis), None
        view_mask = None if view_mask is None else everyone(view_mask)
        if extrinsics is not None:
            cameras = (everyone(x.astype(jnp.float32)) for x in (extrinsics, intrinsics))
            camera_tokens = own_views(self.camera_encoder(*cameras, height, width, view_mask), self.view_axis)
        elif self.is_initializing() and config.camera:
            eyes = jnp.broadcast_to(jnp.eye(4), (*images.shape[:2], 4, 4))
            self.camera_encoder(eyes, eyes[..., :3, :3], height, width)

        heads = {"head": self.head} if dense else {}
        if "raw_gs" in outputs:
            heads["gaussian_head"] = self.gaussian_head
        project = {name: as_function(head, "project") for name, head in heads.items()}

        def on_tap(index: int, tokens: jax.Array) -> dict[str, jax.Array]:
            kept = {"taps": tokens} if "taps" in outputs else {}
            return kept | {name: project(index, tokens, (height, width)) for name, project in project.items()}

        special, kept, features, looks = self.backbone(
            images,
            on_tap if outputs else None,
            camera_tokens=camera_tokens,
            conditioned=conditioned,
            view_mask=view_mask,
            ref_view_strategy=ref_view_strategy,
            **layers,
        )
        result: dict[str, Any] = {"features": features or None, "queries_keys": looks or None}
        if "taps" in outputs:
            result["taps"] = [tap["taps"] for tap in kept]
        if dense:
            result |= self.head([tap["head"] for tap in kept], images, outputs=dense, on_host=on_host)
            if "depth" in dense and "sky" in dense and self.sky_fill:
                filled = fill_sky(everyone(result["depth"]), everyone(result["sky"]), view_mask)
                result["depth"] = own_views(filled, self.view_axis)
            if "sky" not in outputs:
                result.pop("sky", None)
        if "cameras" in outputs:
            result["pose_enc"] = self.camera_decoder(special)
            result["extrinsics"], result["intrinsics"] = decode_pose(result["pose_enc"], height, width)
        if "raw_gs" in outputs:
            result |= self.gaussian_head([tap["gaussian_head"] for tap in kept], images, on_host=on_host)
        return NetworkOutput(**result)


class NestedNetwork(nn.Module):
    """An any-view network beside a metric one. They run side by side; the metric one sees each view by itself.

    `config`, `dtype`, `stacked`, `remat`, `grouped` and `view_axis` are as in `Network`. The scale that brings the any-view result to
    metres is not applied here.
    """

    config: NestedConfig
    dtype: str | None = None
    stacked: bool = False
    remat: bool = False
    grouped: bool = True
    view_axis: Axis | None = None

    def setup(self):
        shared = {name: getattr(self, name) for name in ("dtype", "stacked", "remat", "grouped", "view_axis")}
        self.anyview, self.metric = (Network(half, **shared) for half in (self.config.anyview, self.config.metric))

    def __call__(
        self,
        images: jax.Array,
        extrinsics: jax.Array | None = None,
        intrinsics: jax.Array | None = None,
        *,
        view_mask: jax.Array | None = None,
        outputs: Sequence[str] | None = None,
        **kwargs: Any,
    ) -> NetworkOutput:
        """As `da3jax.forward`; `sky` and `metric_depth` come from the metric half, all else from the any-view half."""
        outputs = self.config.outputs if self.is_initializing() else known_outputs(self.config, outputs)
        halves = {"depth" if name == "metric_depth" else name for name in outputs if name in ("sky", "metric_depth")}
        rest = [name for name in outputs if name in self.config.anyview.outputs]
        result = self.anyview(images, extrinsics, intrinsics, view_mask=view_mask, outputs=rest, **kwargs)
        if not halves:
            return result
        metric = self.metric(images, view_mask=view_mask, outputs=sorted(halves))
        return NetworkOutput(**{**vars(result), "sky": metric.sky, "metric_depth": metric.depth})


def build_network(config: Config, **fields: Any) -> Network | NestedNetwork:
    """The module for any configuration; `fields` are its other attributes."""
    return (NestedNetwork if isinstance(config, NestedConfig) else Network)(config, **fields)


def forward(
    params: Params,
    images: jax.Array,
    *,
    config: Config | str,
    extrinsics: jax.Array | None = None,
    intrinsics: jax.Array | None = None,
    conditioned: jax.Array | None = None,
    view_mask: jax.Array | None = None,
    ref_view_strategy: str = REF_VIEW_STRATEGIES[0],
    outputs: Sequence[str] | None = None,
    export_feat_layers: Sequence[int] = (),
    attention_layers: Sequence[int] = (),
    on_host: Sequence[str] = (),
    dtype: str | None = None,
    mesh: Mesh | None = None,
) -> NetworkOutput:
    """The network as a pure function: jit, vmap, grad, pmap or shard_map it. `config`, strings and layers are static.

    Scenes do not see each other, views of a scene do. What `outputs` leaves out is not computed.

    Args:
        params: nested dict as `DepthAnything3.params`, an entry a block or stacked by `stack_layers`.
        images: (B, S, H, W, 3) float, ImageNet-normalised, H and W multiples of 14.
        config: the network's configuration, or the name of a preset.
        extrinsics: (B, S, 3 or 4, 4) world-to-camera, taken as they are; conditions the network. Needs `intrinsics`.
            All are finite: one view without makes NaN of all that it is seen with. `inference` takes cameras of some views.
        intrinsics: (B, S, 3, 3) in pixels.
        conditioned: (B,) bool, the scenes that are conditioned on their cameras; the others' cameras are finite, and not looked at. None
            for all. Training draws it.
        view_mask: (B, S) bool, at least one True a scene. Views that have False fill the scene up to a size that is compiled already: what
            comes out for the others is as if they were not there, and for them something finite; what they hold, and their cameras,
            is finite. None for all True.
        ref_view_strategy: how the reference view is chosen among three and more views without poses; one of
            `da3jax.config.REF_VIEW_STRATEGIES`.
        outputs: names out of `config.outputs`; by default all but taps and raw Gaussians.
        export_feat_layers: blocks, from 0, whose features to return.
        attention_layers: cross-view blocks, from 0, whose queries and keys to return.
        on_host: fields of the result, out of `da3jax.models.network.ON_HOST`, that go to the host's memory (`pinned_host`) as they are
            made, a group of views at a time, and are never all on the device.
        dtype: `float32`, `bfloat16` or None: float32 on CPU, bfloat16 on accelerators.
        mesh: of `da3jax.parallel.make_mesh`, whose devices share the scenes and, along `view`, the views of each; any number of views.

    Raises:
        ValueError: shapes, dtypes, names or a combination that this network does not take, or scenes that do not divide among the devices.
    """
    config = load_config(config)
    nested = isinstance(config, NestedConfig)
    stacked = is_stacked(params.get("anyview", params) if nested else params)
    if stacked and (np.size(export_feat_layers) or np.size(attention_layers)):  # they may be wanted from the middle of a scan
        params, stacked = unstack_layers(params, config), False
    arguments = (images, extrinsics, intrinsics)
    options = {
        "conditioned": conditioned,
        "view_mask": view_mask,
        "ref_view_strategy": ref_view_strategy,
        "outputs": outputs,
        "export_feat_layers": export_feat_layers,
        "attention_layers": attention_layers,
        "on_host": on_host,
    }
    network = build_network(config, dtype=dtype, stacked=stacked)
    if mesh is None:
        run = partial(network.apply, {"params": params})
    else:  # shapes as they are given, of which a device has a part
        arrays = (None if x is None else jnp.asarray(x) for x in (*arguments, conditioned, view_mask))
        *arguments, options["conditioned"], options["view_mask"] = arrays
        check_arrays(config.anyview if nested else config, *arguments, options["conditioned"], options["view_mask"])
        run = partial(apply_on_mesh, network, params, mesh=mesh)
    try:
        return run(*arguments, **options)
    except (ScopeParamShapeError, ScopeParamNotFoundError, ScopeCollectionNotFound) as error:
        raise ValueError(f"params are not those of {config.name}: {error}") from error


def init_params(config: Config | str, key: jax.Array) -> Params:
    """Random parameters (float32, an entry a block) for a configuration or preset. Under `jax.eval_shape`: their shapes."""
    network = build_network(load_config(config), dtype="float32")
    return network.init(key, jnp.zeros((1, 1, 2 * PATCH_SIZE, 2 * PATCH_SIZE, 3)))["params"]


def compute_dtype(dtype: str | None) -> str:
    """`dtype`, or what None stands for on the device that programs are made for."""
    if dtype is None:
        return "float32" if target_platform() == "cpu" else "bfloat16"
    one_of("dtype", dtype, DTYPES)
    return dtype
