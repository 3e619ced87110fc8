"""Two forms of the backbone's parameters: an entry a block, or runs of equal blocks stacked for `lax.scan`.

On disk it is always an entry a block. The scan plan is exact for every configuration: a run ends where the kind of block changes, where a
tap is taken, and where the reference view is chosen.
"""

from __future__ import annotations

import itertools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from da3jax.config import BackboneConfig, Config, NestedConfig
from da3jax.types import Params


class Segment(NamedTuple):
    """`repeats` times the same `period` blocks (one, or an in-view and a cross-view one), from block `start`."""

    start: int
    period: int
    repeats: int

    @property
    def stop(self) -> int:
        return self.start + self.period * self.repeats


def scan_plan(config: BackboneConfig) -> list[Segment]:
    """Segments that cover all blocks in order."""
    starts = (config.alt_start, config.qknorm_start, config.rope_start)
    cuts = {0, config.alt_start - 1, *starts, *(tap + 1 for tap in config.taps), config.depth}
    cuts = sorted(cut for cut in cuts if 0 <= cut <= config.depth)
    plan = []
    for start, stop in itertools.pairwise(cuts):
        alternates = config.alt_start != -1 and start >= config.alt_start
        if alternates and start % 2 == 1:
            plan.append(Segment(start, 1, 1))
            start += 1
        period = 2 if alternates else 1
        if repeats := (stop - start) // period:
            plan.append(Segment(start, period, repeats))
            start += period * repeats
        if start < stop:
            plan.append(Segment(start, 1, 1))
    return plan


def is_stacked(params: Params) -> bool:
    """Whether `params` of one network are in the scanned form.

    Raises:
        ValueError: they are the parameters of no network.
    """
    if "backbone" not in params:
        raise ValueError(f"the parameters have the entries {', '.join(sorted(params))}; a network's are backbone, head, and so on")
    return any(name.startswith("segment_") for name in params["backbone"])


def stack_layers(params: Params, config: Config) -> Params:
    """`params` with the backbone's `blocks_I` as `segment_K/block_J`, stacked along a new first axis. Works on shapes, too."""
    if isinstance(config, NestedConfig):
        return {half: stack_layers(params[half], getattr(config, half)) for half in ("anyview", "metric")}
    if is_stacked(params):
        return params
    backbone = {name: leaf for name, leaf in params["backbone"].items() if not name.startswith("blocks_")}
    for index, segment in enumerate(scan_plan(config.backbone)):
        backbone[f"segment_{index}"] = {
            f"block_{j}": _stack([params["backbone"][f"blocks_{i}"] for i in range(segment.start + j, segment.stop, segment.period)])
            for j in range(segment.period)
        }
    return {**params, "backbone": backbone}


def unstack_layers(params: Params, config: Config) -> Params:
    """The inverse of `stack_layers`."""
    if isinstance(config, NestedConfig):
        return {half: unstack_layers(params[half], getattr(config, half)) for half in ("anyview", "metric")}
    if not is_stacked(params):
        return params
    backbone = {name: leaf for name, leaf in params["backbone"].items() if not name.startswith("segment_")}
    for index, segment in enumerate(scan_plan(config.backbone)):
        for j in range(segment.period):
            stacked = params["backbone"][f"segment_{index}"][f"block_{j}"]
            for repeat in range(segment.repeats):
                block = jax.tree.map(lambda leaf, repeat=repeat: _take(leaf, repeat), stacked)
                backbone[f"blocks_{segment.start + repeat * segment.period + j}"] = block
    return {**params, "backbone": backbone}


def _stack(blocks: list[Params]) -> Params:
    return jax.tree.map(lambda *leaves: _shape_or(jnp.stack, (len(leaves), *leaves[0].shape), leaves), *blocks)


def _take(leaf: Any, index: int) -> Any:
    return _shape_or(lambda leaf: leaf[index], leaf.shape[1:], leaf)


def _shape_or(function: Any, shape: tuple[int, ...], argument: Any) -> Any:
    """`function(argument)`, or its shape where there are only shapes."""
    first = argument[0] if isinstance(argument, tuple) else argument
    return jax.ShapeDtypeStruct(shape, first.dtype) if isinstance(first, jax.ShapeDtypeStruct) else function(argument)
