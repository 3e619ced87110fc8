"""Weights of one network, or of a pair, in the form and on the devices that run them."""

from __future__ import annotations

import pathlib
from functools import partial

import jax
from jax.sharding import Mesh

from da3jax import weights
from da3jax.config import Config, NestedConfig
from da3jax.models import stack_layers
from da3jax.ops.target import target_platform
from da3jax.parallel import fsdp_sharding, fsdp_shardings
from da3jax.types import Params


def load(
    source: str | pathlib.Path, metric_model: str | pathlib.Path | None, *, revision: str | None, mesh: Mesh | None
) -> tuple[Params, Config]:
    """Parameters and what they belong to; arguments and errors are those of `DepthAnything3.from_pretrained`."""
    shardings = None if mesh is None else fsdp_sharding(mesh)
    params, config = weights.load(source, revision=revision, shardings=shardings)
    if metric_model is not None:
        if isinstance(config, NestedConfig):
            raise ValueError(f"{config.name} has a metric half already; metric_model goes with an any-view network")
        metric_params, metric = weights.load(metric_model, shardings=shardings)
        if isinstance(metric, NestedConfig):
            raise ValueError(f"metric_model is {metric.name}, a pair by itself; it is a metric network, like da3metric-large")
        params, config = {"anyview": params, "metric": metric_params}, NestedConfig(f"{config.name}+{metric.name}", config, metric)
    form = partial(in_form_for_target, config=config)
    shapes = jax.eval_shape(form, params)
    if mesh is not None and jax.tree.structure(shapes) != jax.tree.structure(params):
        form = jax.jit(form, out_shardings=fsdp_shardings(shapes, mesh))  # each device those that it has, and nothing else in between
    return form(params), config


def in_form_for_target(params: Params, config: Config) -> Params:
    """The parameters, an entry a block, or stacked where that is the better choice. Works on shapes, too."""
    backbone = (config.anyview if isinstance(config, NestedConfig) else config).backbone
    # Scanned layers compile faster, and cost nothing on an accelerator; a CPU runs the loop 10 % faster.
    return stack_layers(params, config) if target_platform() != "cpu" and backbone.depth >= 24 else params
