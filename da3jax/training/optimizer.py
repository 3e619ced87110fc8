"""AdamW or Muon with warm-up and cosine, clipping, groups of parameters with rates of their own, and parameters that stay as they are."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
import optax
from flax import traverse_util
from jax import lax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from da3jax.parallel import COPY_AXES
from da3jax.schema import at_least, one_of
from da3jax.types import Params

DECAYED = "kernel"
"""The leaves that weight decay shrinks; biases, norms, scales, tokens and position embeddings are not shrunk, as is the custom for ViTs."""

MATRICES = r"(backbone|camera_encoder)/.*/(attn|mlp)/.*kernel$"
"""Paths of the matrices of transformer blocks, of which Muon makes steps."""


@dataclass(frozen=True)
class ParameterGroup:
    """Parameters with a learning rate of their own."""

    pattern: str
    """A regular expression that is searched in a leaf's path, like `backbone/blocks_0/attn/qkv/kernel`."""
    rate: float
    """Times the learning rate."""

    def __post_init__(self):
        _check_pattern(self.pattern)
        if not 0 < self.rate < math.inf:
            raise ValueError(
                f"the rate of {self.pattern!r} is {self.rate}; it is a positive factor, and what stays as it is goes to freeze"
            )


@dataclass(frozen=True)
class OptimizerConfig:
    """How parameters change. The paper gives peak rate and warm-up (section 3.4); the rest is what public fine-tuning of DA3 uses."""

    learning_rate: float = 2e-4
    """At the peak."""
    warmup_steps: int = 8000
    """Steps in which the rate grows to its peak, the first step's being above 0 already."""
    final_rate: float = 0.1
    """Times the learning rate, at the end of a cosine."""
    algorithm: Literal["adamw", "muon", "sgd"] = "adamw"
    """`muon`: steps of transformer blocks' matrices are made orthogonal, of the size of AdamW's (arXiv 2502.16982), all others AdamW's.
    `sgd`: the gradient itself, for which `b1`, `b2` and `epsilon` mean nothing."""
    b1: float = 0.9
    b2: float = 0.95
    epsilon: float = 1e-8
    weight_decay: float = 0.01
    """Of products' weights only; of those, too, that no loss reaches, such as a camera decoder's where `losses.weights.camera` is 0: what
    is to stay as it is goes to `freeze`."""
    clip_norm: float | None = 1.0
    """Greatest norm of all gradients together. None: no clipping."""
    groups: tuple[ParameterGroup, ...] = ()
    """The first whose pattern is found counts."""
    freeze: tuple[str, ...] = ()
    """Patterns of parameters that stay as they are: no gradient is computed for them, and the optimiser keeps nothing of them."""
    accumulate: int = 1
    """Parts that a batch is taken in, one after the other; their gradients' mean makes one step."""
    ema: float | None = None
    """Decay of a moving average of the parameters, by which is then validated and saved. None: no average."""

    def __post_init__(self):
        one_of("optimizer.algorithm", self.algorithm, ("adamw", "muon", "sgd"))
        for name in ("learning_rate", "epsilon", "clip_norm"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise ValueError(f"optimizer.{name} is {value}; it is a positive number")
        for name in ("final_rate", "weight_decay"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"optimizer.{name} is {getattr(self, name)}; it is a number from 0 on")
        for name in ("b1", "b2", "ema"):
            value = getattr(self, name)
            if value is not None and not 0 <= value < 1:
                raise ValueError(f"optimizer.{name} is {value}; it is from 0 to below 1")
        for name, least in (("warmup_steps", 0), ("accumulate", 1)):
            at_least(f"optimizer.{name}", getattr(self, name), least)
        for pattern in self.freeze:
            _check_pattern(pattern)


def _check_pattern(pattern: str) -> None:
    try:
        re.compile(pattern)
    except re.error as error:
        raise ValueError(f"the pattern {pattern!r} is no regular expression: {error}") from error


class Schedule(NamedTuple):
    """The learning rate of a run as numbers, which a compiled step takes, so that other numbers need no other program."""

    peak: float
    """The largest rate, which step `warmup` has."""
    warmup: int
    """Steps in which it grows."""
    steps: int
    """Of the whole run, more than `warmup`."""
    final: float
    """Times `peak`, the rate from step `steps` on."""

    @staticmethod
    def of(config: OptimizerConfig, steps: int) -> Schedule:
        """Of a run of so many steps; one that is shorter than the warm-up ends inside it."""
        return Schedule(config.learning_rate, config.warmup_steps, max(steps, config.warmup_steps + 1), config.final_rate)

    def rate(self, step: jax.Array | int) -> jax.Array:
        """The rate () of a step: in equal steps to the peak, which step `warmup` has, then a cosine to the final rate at step `steps`."""
        first = self.peak / jnp.maximum(self.warmup, 1)
        grows = first + (self.peak - first) * step / jnp.maximum(self.warmup, 1)
        share = jnp.clip((step - self.warmup) / (self.steps - self.warmup), 0, 1)
        falls = self.peak * (self.final + (1 - self.final) * (1 + jnp.cos(jnp.pi * share)) / 2)
        return jnp.where(step < self.warmup, grows, falls)


def make_optimizer(config: OptimizerConfig, trainable: Params, mesh: Mesh | None = None) -> optax.GradientTransformation:
    """The optimiser for these parameters (or their shapes), without those that are frozen; its updates are those at a learning rate of 1.

    Devices of the mesh that have the same parameters share Muon's matrices among them; without one, each makes all steps itself.

    Raises:
        ValueError: the pattern of a group is found in no path.
    """
    paths = traverse_util.flatten_dict(trainable, sep="/")
    for group in config.groups:
        if not any(re.search(group.pattern, path) for path in paths):
            raise ValueError(f"the group {group.pattern!r} is found in no trainable parameter; paths are like {', '.join(list(paths)[:3])}")

    def by_path(function):
        return traverse_util.unflatten_dict({path: function(path) for path in paths}, sep="/")

    def rate(path: str) -> float:
        return next((group.rate for group in config.groups if re.search(group.pattern, path)), 1.0)

    parts = [] if config.clip_norm is None else [optax.clip_by_global_norm(config.clip_norm)]
    adam = optax.scale_by_adam(config.b1, config.b2, config.epsilon)
    if config.algorithm == "adamw":
        parts.append(adam)
    elif config.algorithm == "muon":
        parts.append(optax.partition({True: _muon(mesh), False: adam}, by_path(lambda path: bool(re.search(MATRICES, path)))))
    if config.weight_decay:
        parts.append(optax.add_decayed_weights(config.weight_decay, by_path(lambda path: path.rpartition("/")[2] == DECAYED)))
    if config.groups:
        rates = by_path(rate)
        parts.append(optax.stateless(lambda updates, params: jax.tree.map(lambda update, rate: rate * update, updates, rates)))
    return optax.chain(*parts, optax.scale(-1.0))


def _muon(mesh: Mesh | None) -> optax.GradientTransformation:
    """From gradients of matrices (…, in, out) to orthogonal steps, whose entries have a root mean square of 0.2, as Adam's usually have."""
    last_two = optax.contrib.MuonDimensionNumbers(reduction_axis=-2, output_axis=-1)

    def dimension_numbers(updates: Params):
        return jax.tree.map(lambda _: last_two, updates)

    def to_the_size_of_adam(update: jax.Array) -> jax.Array:
        return 0.2 * math.sqrt(max(update.shape[-2:])) * update

    muon = optax.chain(
        optax.contrib.scale_by_muon(weight_dimension_numbers=dimension_numbers),
        optax.stateless(lambda updates, params: jax.tree.map(to_the_size_of_adam, updates)),
    )

    def update(updates: Params, state: Any, params: Params | None = None) -> tuple[Params, Any]:
        stacks = _by_shape(updates)
        found, state = muon.update(stacks, state) if mesh is None else _dealt_out(mesh, muon.update, stacks, state)
        leaves, structure = jax.tree.flatten(updates)
        rows = {shape: iter(stack) for shape, stack in found.items()}
        parts = [[next(rows[leaf.shape[-2:]]) for _ in range(math.prod(leaf.shape[:-2]))] for leaf in leaves]
        new = [jnp.stack(part).reshape(leaf.shape) for part, leaf in zip(parts, leaves, strict=True)]
        return jax.tree.unflatten(structure, new), state

    return optax.GradientTransformation(lambda params: muon.init(_by_shape(params)), update)


def _dealt_out(mesh: Mesh, update: Callable[..., Any], stacks: Params, state: Any) -> Any:
    """What `update` makes of matrices (n, in, out), those of a stack in equal parts on the devices that would else all do the same."""
    copies, free = math.prod(mesh.shape[axis] for axis in COPY_AXES), PartitionSpec.UNCONSTRAINED
    dealt, whole = (NamedSharding(mesh, PartitionSpec(first, free, free)) for first in (COPY_AXES, None))

    def filled(x: jax.Array) -> jax.Array:
        """With matrices of zeros, whose steps are zeros, to a number that divides."""
        return lax.with_sharding_constraint(jnp.pad(x, ((0, -len(x) % copies), (0, 0), (0, 0))), dealt) if x.ndim == 3 else x

    def cut(x: jax.Array, like: jax.Array) -> jax.Array:
        return lax.with_sharding_constraint(x, whole)[: len(like)] if x.ndim == 3 else x

    found = update(*jax.tree.map(filled, (stacks, state)))
    return jax.tree.map(cut, found, (stacks, state))


def _by_shape(tree: Params) -> dict[tuple[int, int], jax.Array]:
    """All matrices (…, in, out) of one shape as one array (n, in, out): a product for each would keep an accelerator waiting."""
    found = {}
    for leaf in jax.tree.leaves(tree):
        found.setdefault(leaf.shape[-2:], []).append(leaf.reshape(-1, *leaf.shape[-2:]))
    return {shape: jnp.concatenate(leaves) for shape, leaves in found.items()}


def split(params: Params, freeze: tuple[str, ...]) -> tuple[Params, Params]:
    """Trainable parameters, and those in whose path one of the patterns is found, each a nested dict of what it has.

    Raises:
        ValueError: a pattern is found in no path, or all parameters are frozen.
    """
    paths = traverse_util.flatten_dict(params, sep="/")
    for pattern in freeze:
        if not any(re.search(pattern, path) for path in paths):
            raise ValueError(f"freeze has {pattern!r}, which is found in no parameter; paths are like {', '.join(list(paths)[:3])}")
    frozen = {path for path in paths if any(re.search(pattern, path) for pattern in freeze)}
    if len(frozen) == len(paths):
        raise ValueError(f"freeze {list(freeze)} leaves no parameter to train")
    parts = ({k: v for k, v in paths.items() if k not in frozen}, {k: v for k, v in paths.items() if k in frozen})
    return tuple(traverse_util.unflatten_dict(part, sep="/") for part in parts)


def join(trainable: Params, frozen: Params) -> Params:
    """The parameters that `split` took apart."""
    parts = (traverse_util.flatten_dict(part, sep="/") for part in (trainable, frozen))
    return traverse_util.unflatten_dict({path: leaf for part in parts for path, leaf in part.items()}, sep="/")
