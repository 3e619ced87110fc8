"""A run of training, from its configuration to weights: it goes on where its checkpoints end."""

from __future__ import annotations

import contextlib
import functools
import logging
import pathlib
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

from da3jax import weights
from da3jax.config import NestedConfig
from da3jax.models import init_params, stack_layers, unstack_layers
from da3jax.outputs import check_writable
from da3jax.outputs.atomic import atomic
from da3jax.parallel import batch_parts, fsdp_shardings, make_mesh
from da3jax.parallel.processes import all_or_none, gathered
from da3jax.training.checkpoints import Checkpoints, are_in
from da3jax.training.config import (
    NO_PART_OF_THE_RESULT,
    TrainConfig,
    differences,
    is_of_a_run,
    load_train_config,
    save_train_config,
)
from da3jax.training.data import Batches, prefetched
from da3jax.training.interrupt import heard_between_steps
from da3jax.training.losses import outputs_of
from da3jax.training.metrics_log import STREAMS, MetricsLog
from da3jax.training.not_finite import after_what_was_not_finite, not_finite
from da3jax.training.one_run import alone_in
from da3jax.training.optimizer import make_optimizer, split
from da3jax.training.starting_point import starting_params
from da3jax.training.state import TrainState, averaged_params, init_state, state_shardings
from da3jax.training.step import make_forward, make_loss, make_train_step
from da3jax.training.validation import make_validation
from da3jax.types import Params
from da3jax.weights.safetensors_store import clear_unfinished, is_whole

logger = logging.getLogger(__name__)

CONFIGURATION, CHECKPOINTS = "config.yaml", "checkpoints"

BEST = "validation/abs_rel"
"""What the best checkpoint has the least of."""

Report = Callable[[int, dict[str, float]], None]


def train(config: TrainConfig, *, report: Report = lambda step, metrics: None, progress: bool = False) -> pathlib.Path:
    """Trains, or goes on training, and returns the folder of the weights, in the released layout (`da3jax.weights.save_pretrained`).

    | in `config.folder`   |                                                                        |
    |----------------------|------------------------------------------------------------------------|
    | `config.yaml`        | the configuration                                                      |
    | `checkpoints/`       | the last and the best states, with a fingerprint of each leaf          |
    | `train.csv`          | losses, rates, seconds a step, scenes skipped since this call began; each `log_every` steps |
    | `validation.csv`     | losses and errors                                                      |
    | `tensorboard/`       | the same, if `config.tensorboard`                                      |
    | `weights-STEPS/`     | `model.safetensors` and `config.json`, once all steps are taken        |
    | `not-finite-STEP.npz`| the batch on which loss or gradients were not finite, which ends a run; as long as it is there, the run goes |
    |                      | on with the batch after                                                |

    The first Ctrl-C, or SIGTERM, lets the step end and saves, without a validation that is due; then it is a KeyboardInterrupt. What
    follows after resuming is bit for bit what would have followed without the interruption. Of several processes
    (`da3jax.parallel.initialize`) all make this call, on a folder that all see; a signal to one of them stops all after the same step.

    Args:
        config: of the run.
        report: called with the step and what is logged, whenever there is something.
        progress: whether downloads show their progress bars.

    Raises:
        FloatingPointError: loss or gradients are not finite; the state before that is saved.
        ValueError: something in the configuration, the data or the weights that does not fit, or the run has taken more steps already, or
            ended with another configuration; a sentence says what.
        OSError: something cannot be read or written, or another process trains in the folder.

    After an error of the data, or of validation, the last step is saved (by several processes, what was saved before is still there). A
    validation that failed, or that a signal came before, is not made up for: the run goes on from that step to the next one.
    """
    folder = pathlib.Path(config.folder)
    check_writable(folder, "the folder of the run")
    before = _remembered(folder) or config
    finished = folder / f"weights-{config.steps}"
    if is_whole(finished):
        if differs := differences(before, config, but_for=("steps", *NO_PART_OF_THE_RESULT)):  # it may have gone on to more
            raise ValueError(
                f"{finished} is there already, and the run in {folder} last had another configuration ({'; '.join(differs)}); name another "
                f"folder, or remove it"
            )
        logger.info("all %d steps are taken already", config.steps)
        return finished
    mesh = make_mesh(config.mesh.data, config.mesh.fsdp, config.mesh.view)
    if batch_parts(mesh) % jax.process_count():
        raise ValueError(
            f"mesh.view is {mesh.shape['view']} and leaves {batch_parts(mesh)} groups of devices that take scenes, for "
            f"{jax.process_count()} processes; a scene's devices are of one process, so mesh.view divides their number in each"
        )
    with contextlib.ExitStack() as stack:
        first_process = jax.process_index() == 0
        all_or_none(lambda: stack.enter_context(alone_in(folder)) if first_process else None)
        batches = stack.enter_context(
            Batches(
                config.data,
                seed=config.seed,
                multiple_of=batch_parts(mesh) * config.optimizer.accumulate,
                process_index=jax.process_index(),
                process_count=jax.process_count(),
            )
        )
        checkpoints = stack.enter_context(
            Checkpoints(folder / CHECKPOINTS, keep_last=config.keep_last, keep_best=config.keep_best, best=BEST)
        )
        interruption = stack.enter_context(heard_between_steps())
        state, take_step, validate = _prepare(config, mesh, checkpoints, batches, progress)
        step = int(state.step)
        if step > config.steps:
            raise ValueError(f"the run in {folder} has taken {step} steps, and steps is {config.steps}; it is at least {step}")
        for difference in differences(before, config):
            logger.warning("the run in %s had another configuration: %s", folder, difference)
        all_or_none(lambda: _remember(config, folder) if first_process else None)
        if (after := after_what_was_not_finite(step, folder)) is not None:
            batches.set_state({"next": after})
        log = all_or_none(
            lambda: stack.enter_context(MetricsLog(folder, resume=step, tensorboard=config.tensorboard)) if first_process else None
        )
        skipped, said, data_state, resumed = 0, set(), batches.get_state(), step
        began, first = time.perf_counter(), step  # of the steps that are logged next

        @stack.push
        def save_what_was_learned(kind: type[BaseException] | None, *_: object) -> None:
            """When the data or validation fail, say."""
            if kind is not None and issubclass(kind, Exception) and step > resumed:
                _save_what_is_whole(checkpoints, step, state, data_state)

        for batch, sentences, following in prefetched(batches, mesh, config.steps - step):
            state, found = take_step(state, batch)
            finite = bool(found.pop("finite"))  # waits for the step, so that a signal during it counts
            stops, missed = gathered(np.array([interruption.wanted, len(sentences)])).sum(axis=0)
            skipped += missed
            for sentence in sentences:
                if sentence not in said:
                    logger.warning("skipped: %s", sentence)
                    said.add(sentence)
            if not finite:
                checkpoints.save(step, state, data_state, None)
                checkpoints.wait()
                raise not_finite(batch, following, step, _numbers(found), folder)
            step, data_state = step + 1, following

            last = step == config.steps
            if step % config.log_every == 0 or last:
                values = _numbers(found)
                values["skipped"] = float(skipped)
                values["seconds"] = (time.perf_counter() - began) / (step - first)
                _tell(log, "train", step, values, report)
                began, first = time.perf_counter(), step
            looked = {}
            stops = stops and not last
            if validate is not None and (step % config.validation.every == 0 or last) and not stops:  # whose end may not be waited for
                paused = time.perf_counter()
                looked = validate(averaged_params(state, config.optimizer))
                _tell(log, "validation", step, looked, report)
                began += time.perf_counter() - paused
                stops = not last and gathered(np.array([interruption.wanted])).any()
            if step % config.checkpoint_every == 0 or last or stops or (looked and config.keep_best):
                named = {f"validation/{name}": value for name, value in looked.items()}
                checkpoints.save(step, state, data_state, named)
            if stops:
                checkpoints.wait()
                raise KeyboardInterrupt(f"interrupted after step {step}, which is saved; the same command goes on from there")
        checkpoints.wait()
        params = averaged_params(state, config.optimizer)
        params = unstack_layers(params, config.model) if config.stack_layers else params
        whole = jax.jit(lambda params: params, out_shardings=NamedSharding(mesh, PartitionSpec()))(params)
        all_or_none(lambda: _write(whole, config, finished) if first_process else None)
        return finished


def _save_what_is_whole(checkpoints: Checkpoints, step: int, state: TrainState, data_state: dict[str, int]) -> None:
    """Saves a state that no step has begun to change. Not of several processes, the others of which may not have failed."""
    if jax.process_count() > 1 or any(leaf.is_deleted() for leaf in jax.tree.leaves(state)):
        return
    try:
        if int(state.step) == step:
            checkpoints.save(step, state, data_state, None)
            checkpoints.wait()
    except Exception as error:  # it is another one that ends the run
        logger.warning("what was learned up to step %d is not saved: %s", step, error)


def _numbers(found: dict[str, jax.Array]) -> dict[str, float]:
    return {name: float(value) for name, value in jax.device_get(found).items()}


def _prepare(
    config: TrainConfig, mesh: jax.sharding.Mesh, checkpoints: Checkpoints, batches: Batches, progress: bool
) -> tuple[TrainState, Callable, Any]:
    """The state to go on from, the step, and the validation; `batches` are wound forward to where the state was saved."""
    if config.steps <= config.optimizer.warmup_steps:
        logger.warning(
            "the learning rate does not reach %g: it grows for %d steps (optimizer.warmup_steps), and steps is %d",
            config.optimizer.learning_rate,
            config.optimizer.warmup_steps,
            config.steps,
        )
    options = {"dtype": config.dtype, "remat": config.remat}
    layers = {"feature_layers": config.losses.feature_layers, "attention_layers": config.losses.attention_layers}
    see = functools.partial(make_forward, config.model, mesh, stacked=config.stack_layers, **layers, **options)
    teacher, teacher_params = None, None
    if config.teacher is not None and config.losses.teacher_from >= config.steps:
        logger.warning(
            "teacher %s is not asked: it teaches from step %d on (losses.teacher_from), and steps is %d",
            config.teacher,
            config.losses.teacher_from,
            config.steps,
        )
    elif config.teacher is not None:
        teacher_params, teacher_config = weights.load(config.teacher, progress=progress)
        if isinstance(teacher_config, NestedConfig):
            raise ValueError(f"teacher {config.teacher} is the nested network {teacher_config.name}; a teacher is one network with depth")
        if not config.data.labelled and config.losses.weights.sky and "sky" not in teacher_config.outputs:
            raise ValueError(
                f"teacher {config.teacher} ({teacher_config.name}) says nothing of sky, which images that are not labelled learn from "
                f"it; losses.weights.sky is 0, or the teacher a network with sky"
            )
        teacher_params = jax.device_put(teacher_params, fsdp_shardings(teacher_params, mesh))
        teacher = make_forward(teacher_config, mesh, **options)
    elif 0 < config.losses.teacher_from < config.steps:
        logger.warning(
            "no teacher is named: depth stays ground truth from step %d (losses.teacher_from) on, too", config.losses.teacher_from
        )

    form = functools.partial(stack_layers, config=config.model) if config.stack_layers else lambda params: params
    shapes = jax.eval_shape(lambda key: form(init_params(config.model, key)), jax.random.key(0))
    trainable, _ = split(shapes, config.optimizer.freeze)
    optimizer = make_optimizer(config.optimizer, trainable, mesh)
    shardings = state_shardings(shapes, optimizer, config.optimizer, mesh)
    start = jax.jit(lambda params: init_state(params, optimizer, config.optimizer), out_shardings=shardings)

    like = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), jax.eval_shape(start, shapes), shardings
    )
    found = checkpoints.restore(like)
    if found is None:
        params, _ = starting_params(config.model, config.start_from, jax.random.key(config.seed), progress=progress)
        state = start(form(params))
    else:
        step, state, data_state = found
        batches.set_state(data_state)
        logger.info("goes on after step %d", step)

    forward = see(outputs=outputs_of(config.losses.weights))
    loss = make_loss(config.model, config.losses, config.data.augment, forward, teacher)
    step = make_train_step(loss, optimizer, config.optimizer, steps=config.steps, mesh=mesh, shardings=shardings)
    validate = None if config.validation is None else make_validation(config, see(), mesh)
    key = jax.random.key(config.seed)
    return state, lambda state, batch: step(state, batch, key, teacher_params), validate


def _remembered(folder: pathlib.Path) -> TrainConfig | None:
    """The configuration that the run in the folder last went on with; None where there is none, or one of another version."""
    path = folder / CONFIGURATION
    if not (path.exists() and is_of_a_run(path)) and not are_in(folder / CHECKPOINTS):
        for name, what in ((CONFIGURATION, "its configuration"), *((f"{stream}.csv", "what it measures") for stream in STREAMS)):
            if (folder / name).exists():
                raise ValueError(
                    f"{folder / name} is there, and no run has written it; a run keeps {what} there, so name another folder, or rename "
                    f"that file"
                )
    if not path.exists():
        return None
    try:
        return load_train_config(path)
    except ValueError as error:
        logger.warning("%s is not compared with the configuration of now: %s", path, error)
        return None


def _remember(config: TrainConfig, folder: pathlib.Path) -> None:
    with atomic(folder / CONFIGURATION) as temp:
        save_train_config(config, temp)


def _tell(log: MetricsLog | None, stream: str, step: int, metrics: dict[str, float], report: Report) -> None:
    if log is not None:
        log.write(stream, step, metrics)
    report(step, {f"{stream}/{name}": value for name, value in metrics.items()})


def _write(params: Params, config: TrainConfig, folder: pathlib.Path) -> None:
    clear_unfinished(folder)
    weights.save_pretrained(jax.device_get(params), config.model, folder)
