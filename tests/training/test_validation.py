"""Predictions that are known, on scenes that are known."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax.parallel import make_mesh
from da3jax.training.data import Batches
from da3jax.training.validation import make_validation
from da3jax.types import NetworkOutput
from tests.training.tiny import run

LOSSES = {"weights": {"ray": 0, "point": 0, "camera": 0, "gradient": 0}}


@pytest.fixture
def folder(tmp_path, scenes, write_scenes):
    """Eight scenes of two views; of the first no depth is known in the upper half."""
    batch = scenes(8)
    batch.targets.depth[0, :, :14] = 0
    write_scenes(tmp_path / "scenes", batch)
    return tmp_path / "scenes"


def validation_of(folder, predict, losses=LOSSES):
    """What is found for `predict` of the true depth and poses (8, 2, ...)."""
    data = {"views": [2], "sizes": [[28, 42]], "batch_tokens": 96, "sources": [{"type": "folder", "path": str(folder)}]}
    config = run("unused", validation={"data": data | {"augment": {"crop": [0.3, 0.4], "flip": 1.0}}, "batches": 1}, losses=losses)
    whole = run("unused", data=data | {"augment": {"crop": [1.0, 1.0]}}).data
    with Batches(whole, seed=config.validation.seed, multiple_of=8) as batches:
        truth = next(batches).batch.targets

    def forward(params, images, cameras, conditioned):
        depth, extrinsics = predict(jnp.where(truth.mask, truth.depth, 1), jnp.asarray(truth.extrinsics))
        return NetworkOutput(depth=depth, extrinsics=extrinsics)

    return make_validation(config, forward, make_mesh())({})


def test_the_truth_at_any_scale_has_no_error(folder):
    found = validation_of(folder, lambda depth, poses: (3 * depth, poses))
    np.testing.assert_allclose([found["abs_rel"], found["delta1"]], [0, 1], atol=1e-6)
    np.testing.assert_allclose([found["auc_3"], found["auc_30"]], 100)
    assert found["loss"] == found["depth"] > 0.1


def test_errors_are_means_over_scenes(folder):
    wrong = jnp.where(jnp.arange(8) < 2, 2.0, 1.0)[:, None, None, None]  # of two scenes a view is twice as far as it is

    def predict(depth, poses):
        return depth.at[:, 1:].multiply(wrong), poses.at[:2, 1, :, 3].set(jnp.array([0.0, 1.0, 0.0]))

    found = validation_of(folder, predict)
    assert 0.25 * 0.2 < found["abs_rel"] < 0.25 * 0.8
    assert found["auc_30"] == 75


def test_a_metric_network_is_not_scaled(folder):
    losses = {"preset": "metric", "weights": {"sky": 0}}
    found = validation_of(folder, lambda depth, poses: (depth * (300 / 40), poses), losses)
    np.testing.assert_allclose(found["abs_rel"], 0, atol=1e-6)
    found = validation_of(folder, lambda depth, poses: (2 * depth * (300 / 40), poses), losses)
    np.testing.assert_allclose(found["abs_rel"], 1, rtol=1e-6)


def test_a_relative_network_is_right_up_to_a_scale_and_a_shift_of_each_view(folder):
    losses = {"preset": "mono", "weights": {"sky": 0, "normal": 0, "global_local": 0}, "align_samples": 128}
    shift = jnp.array([5.0, 20.0])[None, :, None, None]
    found = validation_of(folder, lambda depth, poses: (3 * depth + shift, poses), losses)
    np.testing.assert_allclose([found["abs_rel"], found["delta1"]], [0, 1], atol=1e-4)
    bent = validation_of(folder, lambda depth, poses: (depth**2, poses), losses)
    assert bent["abs_rel"] > 1e-3


def test_it_looks_at_the_same_scenes_each_time(folder):
    data = {"views": [2], "sizes": [[28, 42]], "batch_tokens": 12, "sources": [{"type": "folder", "path": str(folder)}]}

    def forward(params, images, cameras, conditioned):
        return NetworkOutput(depth=jnp.ones(images.shape[:-1]))

    def validation(seed):
        config = run("unused", validation={"data": data, "batches": 1, "seed": seed}, losses=LOSSES)
        return make_validation(config, forward, make_mesh(1, 1, devices=jax.devices()[:1]))

    validate = validation(0)
    found = [validate({})["abs_rel"] for _ in range(2)]
    assert found[0] == found[1]
    assert len({validation(seed)({})["abs_rel"] for seed in range(4)}) > 1


def test_scenes_that_are_not_there_are_named_before_training(tmp_path):
    data = {"views": [2], "sizes": [[28, 42]], "batch_tokens": 96, "sources": [{"type": "folder", "path": str(tmp_path / "held-out")}]}
    config = run("unused", validation={"data": data, "batches": 1}, losses=LOSSES)
    with pytest.raises(OSError, match=r"validation.data: .*held-out"):
        make_validation(config, lambda *_: None, make_mesh())


def test_more_views_than_any_scene_has_are_refused_before_training(folder):
    data = {"views": [5], "sizes": [[28, 42]], "batch_tokens": 240, "sources": [{"type": "folder", "path": str(folder)}]}
    config = run("unused", validation={"data": data, "batches": 1}, losses=LOSSES)
    with pytest.raises(ValueError, match=r"validation.data: .*scenes: none of 8 scenes has 5 images"):
        make_validation(config, lambda *_: None, make_mesh())


def test_a_broken_scene_is_named_once(folder, caplog):
    next((folder / "3" / "depth").iterdir()).write_bytes(b"")
    data = {"views": [2], "sizes": [[28, 42]], "batch_tokens": 96, "sources": [{"type": "folder", "path": str(folder)}]}
    config = run("unused", validation={"data": data, "batches": 1}, losses=LOSSES)
    validate = make_validation(config, lambda params, images, *_: NetworkOutput(depth=jnp.ones(images.shape[:-1])), make_mesh())
    for _ in range(2):
        validate({})
    (said,) = caplog.messages
    assert said.startswith("skipped in validation, which looks at others in their place: the scene ")
    assert "/3 is left out: depth/" in said
