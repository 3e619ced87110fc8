"""What a step of training changes, and a checkpoint keeps."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import Mesh

from da3jax.parallel import fsdp_shardings
from da3jax.training.optimizer import OptimizerConfig, join, split
from da3jax.types import Params


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class TrainState:
    """Everything that the next step depends on, but for the data."""

    step: jax.Array
    """() int32, how many steps were taken."""
    params: Params
    """All parameters, float32."""
    opt_state: Any
    """The optimiser's, of the trainable parameters."""
    average: Params | None = None
    """Moving averages of the trainable parameters, if they are kept."""


def init_state(params: Params, optimizer: optax.GradientTransformation, config: OptimizerConfig) -> TrainState:
    """The state before the first step; takes parameters or, under `jax.eval_shape`, their shapes."""
    trainable, _ = split(params, config.freeze)
    average = None if config.ema is None else jax.tree.map(jnp.copy, trainable)  # a copy: both are donated to the next step
    return TrainState(jnp.zeros((), jnp.int32), params, optimizer.init(trainable), average)


def state_shardings(params: Params, optimizer: optax.GradientTransformation, config: OptimizerConfig, mesh: Mesh) -> TrainState:
    """Where the state lies, as a tree of shardings: what is large is split over the mesh's `fsdp`."""
    return fsdp_shardings(jax.eval_shape(lambda params: init_state(params, optimizer, config), params), mesh)


def averaged_params(state: TrainState, config: OptimizerConfig) -> Params:
    """The parameters to validate and to save: the averages where they are kept, frozen ones as they are."""
    return state.params if state.average is None else join(state.average, split(state.params, config.freeze)[1])
