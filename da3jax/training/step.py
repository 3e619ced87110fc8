"""One step of training, the same function on one device and on a mesh."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax import lax
from jax.sharding import Mesh

from da3jax.config import ModelConfig
from da3jax.geometry import normalize_poses
from da3jax.models import apply_on_mesh, build_network
from da3jax.models.sky import SKY_THRESHOLD
from da3jax.ops.target import target_platform
from da3jax.parallel import batch_sharding
from da3jax.training.data import AugmentConfig, Batch, augment, normalize_images
from da3jax.training.losses import LossConfig, Targets, draw_pose_conditioning, supervise, total_loss
from da3jax.training.optimizer import OptimizerConfig, Schedule, join, split
from da3jax.training.state import TrainState
from da3jax.types import NetworkOutput, Params

Metrics = dict[str, jax.Array]
Forward = Callable[..., NetworkOutput]
"""`(params, images, cameras, conditioned)`, cameras being None or extrinsics and intrinsics."""


def make_forward(
    config: ModelConfig,
    mesh: Mesh,
    *,
    dtype: str | None = None,
    stacked: bool = False,
    remat: bool = False,
    feature_layers: Sequence[int] = (),
    attention_layers: Sequence[int] = (),
    outputs: Sequence[str] | None = None,
) -> Forward:
    """The network for training: devices take scenes of a batch, or views of them; the first view is the reference; sky is not filled.

    `feature_layers` are blocks whose features a loss looks at, `attention_layers` those of whose queries and keys, `outputs` what else is
    looked at, None for all that the network has. Parameters that are split over devices are put together block by block, and their
    gradients split again; with `remat` a gradient asks for them again, without it keeps whole ones until it has used them.
    """
    grouped = remat or target_platform() == "cpu"
    network = build_network(config, dtype=dtype, stacked=stacked, remat=remat, grouped=grouped, sky_fill=False)

    def forward(params: Params, images: jax.Array, cameras: tuple | None, conditioned: jax.Array | None) -> NetworkOutput:
        extrinsics, intrinsics = cameras or (None, None)
        layers = {"export_feat_layers": feature_layers, "attention_layers": attention_layers}
        options = {"conditioned": conditioned, "ref_view_strategy": "first", "outputs": outputs}
        return apply_on_mesh(network, params, images, extrinsics, intrinsics, mesh=mesh, **options, **layers)

    return forward


def make_loss(
    config: ModelConfig, losses: LossConfig, looks: AugmentConfig, forward: Forward, teacher: Forward | None = None
) -> Callable[..., tuple[jax.Array, Metrics]]:
    """`(params, batch, key, step, teacher's params) -> (loss, metrics)`: augmentation, poses for some scenes, network, losses."""

    def loss(params: Params, batch: Batch, key: jax.Array, step: jax.Array, teacher_params: Params | None) -> tuple[jax.Array, Metrics]:
        for_looks, for_teacher, for_poses = jax.random.split(key, 3)
        images = normalize_images(augment(for_looks, batch.images, looks))
        targets = batch.targets
        if teacher is not None:
            taught = partial(_teach, teacher, teacher_params, images)
            nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(taught))
            depth, sky = lax.cond(step >= losses.teacher_from, taught, lambda: nothing)
            targets = supervise(targets, depth, step, for_teacher, losses, sky=sky)
        output = forward(params, images, *_conditioning(config, losses, targets, for_poses))
        return total_loss(output, targets, losses)

    return loss


def _conditioning(config: ModelConfig, losses: LossConfig, targets: Targets, key: jax.Array) -> tuple[tuple | None, jax.Array | None]:
    """Cameras as `inference` gives them to the network, and which scenes are conditioned on them."""
    if config.camera is None or not losses.pose_probability:
        return None, None
    drawn = draw_pose_conditioning(key, losses, targets.depth.shape[:1])
    known = jnp.all(jnp.isfinite(targets.extrinsics), axis=(1, 2, 3)) & jnp.all(jnp.isfinite(targets.intrinsics), axis=(1, 2, 3))
    matrices = targets.extrinsics[:, :, :3], targets.intrinsics
    # Something finite where they are not known.
    extrinsics, intrinsics = (jnp.where(known[:, None, None, None], x, jnp.eye(3, x.shape[-1])[None, None]) for x in matrices)
    return (normalize_poses(extrinsics), intrinsics), drawn & known


def _teach(teacher: Forward, params: Params, images: jax.Array) -> tuple[jax.Array, jax.Array | None]:
    """The teacher's depth and, if it has one, which pixels it takes for sky, 0 or 1 (B, S, H, W), each view being a scene of its own."""
    output = teacher(params, images.reshape(-1, 1, *images.shape[2:]), None, None)
    sky = None if output.sky is None else (output.sky >= SKY_THRESHOLD).astype(output.sky.dtype)
    return jax.tree.map(lambda x: lax.stop_gradient(x).reshape(images.shape[:-1]), (output.depth, sky))


def make_train_step(
    loss: Callable,
    optimizer: optax.GradientTransformation,
    config: OptimizerConfig,
    *,
    steps: int,
    mesh: Mesh,
    shardings: TrainState,
) -> Callable[..., tuple[TrainState, Metrics]]:
    """`(state, batch, key, teacher's params) -> (state, metrics)`, compiled; the state that it takes is gone afterwards.

    Metrics are those of `total_loss`, `gradient_norm` before clipping, `learning_rate` and `finite`. Where loss or gradients are not finite
    nothing changes but those. What is random in a step follows from the run's key and the number of the step.

    Args:
        loss: as `make_loss` gives it.
        optimizer: of the trainable parameters.
        config: whose `freeze`, `accumulate` and `ema` count here.
        steps: of the whole run.
        mesh: the devices; a batch's scenes are a multiple of how many share them, times `config.accumulate`.
        shardings: of the state.
    """
    schedule = jax.tree.map(np.float32, Schedule.of(config, steps))
    scenes = batch_sharding(mesh)

    def gradients(trainable: Params, frozen: Params, batch: Batch, key: jax.Array, step: jax.Array, teacher: Any) -> tuple[Params, Metrics]:
        def objective(trainable: Params) -> tuple[jax.Array, Metrics]:
            return loss(join(trainable, frozen), batch, key, step, teacher)

        (_, metrics), gradient = jax.value_and_grad(objective, has_aux=True)(trainable)
        return gradient, metrics

    def accumulated(
        trainable: Params, frozen: Params, batch: Batch, key: jax.Array, step: jax.Array, teacher: Any
    ) -> tuple[Params, Metrics]:
        parts = config.accumulate
        if parts == 1:
            return gradients(trainable, frozen, batch, key, step, teacher)
        # Scenes are dealt out, so that each device has some of every part.
        dealt = jax.tree.map(lambda x: jnp.swapaxes(x.reshape(-1, parts, *x.shape[1:]), 0, 1), batch)
        run = partial(gradients, trainable, frozen)

        def add(total: Params, some: tuple) -> tuple[Params, Metrics]:
            part, key = some
            gradient, metrics = run(lax.with_sharding_constraint(part, scenes), key, step, teacher)
            return jax.tree.map(lambda a, b: a + b / parts, total, gradient), metrics

        zeros = jax.tree.map(jnp.zeros_like, trainable)
        gradient, metrics = lax.scan(add, zeros, (dealt, jax.random.split(key, parts)))
        return gradient, {name: (jnp.max if name.endswith("_max") else jnp.mean)(values) for name, values in metrics.items()}

    def train_step(state: TrainState, batch: Batch, key: jax.Array, teacher: Any, schedule: Schedule) -> tuple[TrainState, Metrics]:
        rate = schedule.rate(state.step)
        key = jax.random.fold_in(key, state.step)
        trainable, frozen = split(state.params, config.freeze)
        gradient, metrics = accumulated(trainable, frozen, batch, key, state.step, teacher)
        norm = optax.tree.norm(gradient)
        finite = jnp.isfinite(norm) & jnp.isfinite(metrics["total"])

        updates, opt_state = optimizer.update(gradient, state.opt_state, trainable)
        updated = jax.tree.map(lambda param, update: param + rate * update, trainable, updates)
        average = state.average
        if average is not None:
            average = optax.incremental_update(updated, average, 1 - config.ema)
        new = (state.step + 1, updated, opt_state, average)
        old = (state.step, trainable, state.opt_state, state.average)
        step, trainable, opt_state, average = jax.tree.map(partial(jnp.where, finite), new, old)
        rates = {"gradient_norm": norm, "learning_rate": rate, "finite": finite}
        return TrainState(step, join(trainable, frozen), opt_state, average), metrics | rates

    run = jax.jit(train_step, donate_argnums=0, out_shardings=(shardings, None))
    return lambda state, batch, key, teacher=None: run(state, batch, key, teacher, schedule)
