"""What `inference` would take of devices that need not be here: memory, the most views, floating-point operations."""

from __future__ import annotations

import functools
import logging
import pathlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import jax
from jax.sharding import SingleDeviceSharding

from da3jax.config import PRESETS, Config, ModelConfig, NestedConfig, load_config
from da3jax.inference import DepthAnything3
from da3jax.inference.loading import in_form_for_target
from da3jax.inference.plan import check_views
from da3jax.models import init_params
from da3jax.ops.target import made_for
from da3jax.parallel import make_mesh
from da3jax.planner.flops import count_flops
from da3jax.planner.memory import peak_bytes
from da3jax.planner.search import largest_that_fits
from da3jax.planner.topologies import find_topology
from da3jax.schema import one_of
from da3jax.weights import read_config
from da3jax.weights.released import RELEASES, find

logger = logging.getLogger(__name__)

VIEWS_AT_A_TIME = 8
"""From so many views a device on, numbers are tried of which so many are a multiple: they go through the network in groups."""


@dataclass(frozen=True)
class Plan:
    """What one program takes."""

    peak_bytes_per_device: int
    """Parameters, images, results and what lies between: the most at any one time."""
    usable_bytes_per_device: int
    """What there is for it."""
    devices: int
    flops: int
    """Of all devices together: products and convolutions, two for a multiplication and an addition. Views that fill up count."""
    max_views: int | None
    """The largest number of views that fits; None where it was not looked for. 0: not even one. Tried are those that fill nothing up, so
    without `bucket_views` beyond eight a device multiples of eight, and the number that was asked for."""

    @property
    def fits(self) -> bool:
        return self.peak_bytes_per_device <= self.usable_bytes_per_device


def plan(
    model: str | pathlib.Path | Config,
    views: int,
    height: int,
    width: int,
    topology: str = "cpu",
    *,
    dtype: str | None = None,
    outputs: Sequence[str] | None = None,
    bucket_views: bool = True,
    usable_bytes: int | None = None,
    search: bool = True,
) -> Plan:
    """Compiles what `DepthAnything3.inference` would run, with the compiler of the devices, without weights and without the devices.

    Compilers for accelerators ask for no driver where JAX is to use the CPU alone: `jax.config.update("jax_platforms", "cpu")` before.
    One device of a topology has the scene to itself; several share its views, as with `from_pretrained(mesh=make_mesh(1, view=-1))`.

    Args:
        model: a preset, hub id of a release, folder with weights, YAML file or configuration. Of weights nothing is read.
        views: of one scene.
        height: pixels of a processed image, a multiple of 14.
        width: likewise.
        topology: a name out of `da3jax.planner.topologies()`.
        dtype: as `from_pretrained`: None is what the devices take by default.
        outputs: as `inference`.
        bucket_views: whether scenes are filled up, as `DepthAnything3.bucket_views` says.
        usable_bytes: memory of a device that there is for the program, where it is not what the topology's description says.
        search: whether the largest number of views is looked for, which takes a few compilations more.

    Raises:
        ValueError: an unknown model or topology, or a size or option that `inference` would refuse.
        ModuleNotFoundError: the compiler for these devices is not installed; the message says which extra has it.
    """
    check_views(views)
    config, where = config_of(model), find_topology(topology)
    usable = where.target.usable() if usable_bytes is None else usable_bytes
    devices = where.devices()
    program = functools.partial(_model, config, dtype, bucket_views)
    options = {"height": height, "width": width, "outputs": outputs}

    @functools.cache
    def needs(views: int) -> int:
        begun = time.perf_counter()
        with made_for(devices[0]):
            ours = program(devices)
            lowered = ours.trace(views, **options).lower()
            used = peak_bytes(lowered, ours.params, where.target.compiler_options) + where.target.process_bytes
        logger.info("%d views: %.2f GiB a device, planned in %.0f s", views, used / 2**30, time.perf_counter() - begun)
        return used

    with made_for(jax.devices("cpu")[0]):  # a loop of blocks, not a scan, in which taps are taken on a condition
        ours = program(None)
        flops = count_flops(ours.trace(-(-views // len(devices)) * len(devices), **options).jaxpr)
    needed, most = needs(views), None
    if search:
        size = functools.partial(_size, len(devices), bucket_views)
        start = max(i for i in range(views + 1) if i == 0 or size(i) <= views)
        most = max(largest_that_fits(needs, size, usable, start), views if needed <= usable else 0)
    return Plan(needed, usable, len(devices), flops, most)


def config_of(model: str | pathlib.Path | Config) -> Config:
    """What `plan` takes for a model, as a configuration.

    Raises:
        ValueError: it is none of those.
        FileNotFoundError: it is a file or folder that is not there.
    """
    if isinstance(model, ModelConfig | NestedConfig) or str(model).endswith((".yaml", ".yml")):
        return load_config(model)
    if pathlib.Path(model).is_dir():
        return read_config(model)
    if release := find(model):
        return PRESETS[release.preset]
    one_of("model", str(model), (*PRESETS, *RELEASES))
    return PRESETS[str(model)]


def _model(config: Config, dtype: str | None, bucket_views: bool, devices: Sequence[Any] | None) -> DepthAnything3:
    """A model whose parameters are shapes, on these devices; None for wherever it may be."""
    params = in_form_for_target(jax.eval_shape(functools.partial(init_params, config), jax.random.key(0)), config)
    mesh = make_mesh(1, view=-1, devices=devices) if devices and len(devices) > 1 else None
    if devices and mesh is None:
        (device,) = devices
        params = jax.tree.map(lambda leaf: leaf.update(sharding=SingleDeviceSharding(device)), params)
    model = DepthAnything3(params, config, dtype=dtype, mesh=mesh)
    model.bucket_views = bucket_views
    return model


def _size(devices: int, bucket_views: bool, index: int) -> int:
    """The sizes of scenes that nothing is filled up in, in order, and beyond a few views without those that groups do not divide."""
    if bucket_views:
        return devices * (1 if index == 0 else (3 - index % 2) << (index - 1) // 2)
    return devices * (index + 1 if index < VIEWS_AT_A_TIME else VIEWS_AT_A_TIME * (index + 2 - VIEWS_AT_A_TIME))
