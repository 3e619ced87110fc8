"""A network learns one scene by heart, by each way that a scene is supervised."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax.evaluation.metrics import depth_metrics, pose_errors
from da3jax.models import forward
from da3jax.parallel import batch_sharding
from da3jax.training.data import PlannedBatch, ProceduralConfig, normalize_images, realise
from da3jax.training.data.procedural import scene_seed
from da3jax.training.losses import canonical_depth, normalize_targets
from da3jax.types import NetworkOutput
from tests.training.tiny import MODEL, run

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("well_compiled")]

WIDE = {
    "preset": "da3-small",
    **MODEL,
    "backbone": MODEL["backbone"] | {"width": 96, "pos_grid": 4},
    "head": {"type": "dualdpt", "features": 64, "channels": [32, 32, 64, 64]},
}
SAME_LOOKS = {"brightness": 0, "contrast": 0, "saturation": 0, "hue": 0, "grey": 0, "blur": 0}
STEPS, SIZE = 1200, (28, 42)


def config_of(tmp_path, **fields):
    data = {"views": [3], "sizes": [SIZE], "batch_tokens": 18, "sources": [{"type": "procedural"}], "augment": SAME_LOOKS}
    optimizer = {"warmup_steps": 30, "learning_rate": 2e-3, "final_rate": 0.01, "weight_decay": 0}
    return run(tmp_path, **{"model": WIDE, "steps": STEPS, "data": data, "optimizer": optimizer, **fields})


def scene_of(mesh, views=3):
    batch = realise(PlannedBatch(jnp.stack([scene_seed((0, 0))]), views, *SIZE, ProceduralConfig()), batch_sharding(mesh))
    return jax.device_get(batch)


def taught(run, batch):
    """What the network says after the run, about the pictures that it has learned."""
    for _ in range(STEPS):
        run.step(batch)
    images = normalize_images(jnp.asarray(batch.images))
    apply = jax.jit(lambda params: forward(params, images, config=run.config.model, ref_view_strategy="first"))
    return jax.device_get(apply(run.state.params))


def check(output, truth, align="median"):
    error = depth_metrics(output.depth[0], np.asarray(truth.depth)[0], np.asarray(truth.valid())[0], align=align)["abs_rel"]
    assert error < 0.02
    if output.ray is None:
        return
    rays = normalize_targets(truth.depth, truth.extrinsics, truth.intrinsics, truth.valid()).ray
    assert np.abs(output.ray - rays).mean() < 0.02
    assert pose_errors(output.extrinsics[0], truth.extrinsics[0]).max() < 2
    np.testing.assert_allclose(output.intrinsics[0, :, 0, 0] / truth.intrinsics[0, :, 0, 0], 1, rtol=0.03)


def test_by_ground_truth(make_run, tmp_path):
    learner = make_run(config_of(tmp_path))
    batch = scene_of(learner.mesh)
    check(taught(learner, batch), batch.targets)


def test_by_a_teacher_that_is_aligned_to_noisy_and_sparse_depth(make_run, tmp_path):
    # The teacher is right up to a scale and a shift of each view, and half a percent of noise. Of the depth it is aligned to a third is
    # known, a tenth of that grossly wrong and all of it off by five percent or so.
    config = config_of(tmp_path, losses={"teacher_from": 0})
    batch = scene_of(make_run(config).mesh)
    truth, rng = batch.targets, np.random.default_rng(0)
    shape = truth.depth.shape
    noisy = truth.depth * rng.normal(1, 0.05, shape) * np.where(rng.random(shape) < 0.1, rng.uniform(0.3, 3, shape), 1)
    given = dataclasses.replace(truth, depth=np.maximum(noisy, 0.01).astype(np.float32), mask=truth.mask & (rng.random(shape) < 0.33))
    says = (
        (truth.depth + rng.uniform(0, 0.3, (1, shape[1], 1, 1))) * rng.uniform(0.2, 0.5, (1, shape[1], 1, 1)) * rng.normal(1, 0.005, shape)
    )
    teacher = {"depth": jnp.asarray(says, jnp.float32).reshape(-1, 1, *shape[2:])}
    learner = make_run(config, teacher=teacher, teach=lambda params, *_: NetworkOutput(depth=params["depth"]))
    check(taught(learner, dataclasses.replace(batch, targets=given)), truth)


def test_a_metric_network_by_metres(make_run, tmp_path):
    model = {
        "name": "metric",
        "backbone": WIDE["backbone"] | dict.fromkeys(("alt_start", "qknorm_start", "rope_start"), -1) | {"cat_token": False},
        "head": WIDE["head"] | {"type": "dpt"},
        "canonical_focal": 300.0,
    }
    learner = make_run(config_of(tmp_path, model=model, losses="metric"))
    batch = scene_of(learner.mesh, views=1)
    metres = canonical_depth(batch.targets.depth, batch.targets.intrinsics)
    check(taught(learner, batch), dataclasses.replace(batch.targets, depth=metres), align="none")
