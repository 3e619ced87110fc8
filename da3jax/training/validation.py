"""How good a network is on scenes that it is not trained on."""

from __future__ import annotations

import contextlib
import dataclasses
import logging
from collections.abc import Callable, Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental.multihost_utils import process_allgather
from jax.sharding import Mesh

from da3jax.evaluation.metrics import depth_metrics, pose_auc, pose_errors
from da3jax.parallel import batch_parts, batch_sharding
from da3jax.training.config import TrainConfig
from da3jax.training.data import AugmentConfig, Batch, Batches, normalize_images, realise
from da3jax.training.losses import align_depth, canonical_depth, total_loss
from da3jax.training.step import Forward
from da3jax.types import Params

logger = logging.getLogger(__name__)


def make_validation(config: TrainConfig, forward: Forward, mesh: Mesh) -> Callable[[Params], dict[str, float]]:
    """`params -> metrics`: means over the same scenes each time, at their largest crops, without augmentation and without poses.

    `loss` and its terms; `abs_rel`, `delta1` and `rmse` of depth after one median scale a scene; of a metric network as it is, at the
    canonical focal length; of a relative one after the scale and shift of each view that its losses find.
    `auc_3` and `auc_30` of the decoded cameras, in percent, where there are some. Scenes without known depth, or without known cameras, do
    not count in what they lack.

    Args:
        config: its `validation` says what to look at, its `losses` what is learned.
        forward: as `make_forward` gives it.
        mesh: the devices.

    Raises:
        ValueError, OSError: as `da3jax.training.data.Batches`, of the first batch, too, and from the returned function.
    """
    settings, units = config.validation, config.losses.units
    data = dataclasses.replace(settings.data, augment=AugmentConfig(crop=(1.0, 1.0)))

    processes = {"process_index": jax.process_index(), "process_count": jax.process_count()}
    with _as_of_validation():  # here, and a batch is drawn, so that what is wrong is said before training
        batches = Batches(data, seed=settings.seed, multiple_of=batch_parts(mesh), **processes)
        start = batches.get_state()
        with batches:
            next(batches)
    said: set[str] = set()

    @jax.jit
    def look(params: Params, batch: Batch) -> tuple[dict, dict]:
        output = forward(params, normalize_images(batch.images), None, None)
        _, terms = total_loss(output, batch.targets, config.losses)
        targets, depth, truth = batch.targets, output.depth, batch.targets.depth
        if units == "canonical":
            truth = canonical_depth(truth, targets.intrinsics, config.losses.canonical_focal)
        valid = targets.valid() & jnp.isfinite(truth)
        if units == "relative":
            scale, shift = (x[..., None, None] for x in align_depth(depth, truth, valid, samples=config.losses.align_samples))
            depth = scale * depth + shift
        seen = {"depth": depth, "truth": truth, "valid": valid, "cameras": output.extrinsics, "poses": targets.extrinsics}
        return terms, {name: value for name, value in seen.items() if value is not None}

    def of_scene(scene: dict[str, np.ndarray]) -> dict[str, float]:
        found = {}
        if scene["valid"].any():
            found |= depth_metrics(scene["depth"], scene["truth"], scene["valid"], align="median" if units == "scene" else "none")
        if "cameras" in scene and len(scene["poses"]) > 1 and np.isfinite(scene["poses"]).all():
            errors = pose_errors(scene["cameras"], scene["poses"])
            found |= {f"auc_{limit}": value for limit, value in pose_auc(errors, (3, 30)).items()}
        return found

    def validate(params: Params) -> dict[str, float]:
        rows: list[dict[str, float]] = []
        batches.set_state(start)
        with batches:
            for _ in range(settings.batches):
                with _as_of_validation():
                    loaded = next(batches)
                for sentence in set(loaded.skipped) - said:
                    logger.warning("skipped in validation, which looks at others in their place: %s", sentence)
                said.update(loaded.skipped)
                terms, seen = look(params, realise(loaded.batch, batch_sharding(mesh)))
                seen = process_allgather(seen, tiled=True)
                rows.append({"loss" if name == "total" else name: float(value) for name, value in terms.items()})
                rows += [of_scene({name: value[i] for name, value in seen.items()}) for i in range(len(seen["depth"]))]
        names = dict.fromkeys(name for row in rows for name in row)
        return {name: float(np.mean([row[name] for row in rows if name in row])) for name in names}

    return validate


@contextlib.contextmanager
def _as_of_validation() -> Iterator[None]:
    """What is wrong with the data is said to be of validation's."""
    try:
        yield
    except (ValueError, OSError) as error:
        raise (OSError if isinstance(error, OSError) else ValueError)(f"validation.data: {error}") from error
