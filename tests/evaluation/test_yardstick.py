"""The yardstick: its scenes are not those of a training, and what it says of known predictions."""

import functools
import json

import numpy as np
import pytest

from benchmarks import yardstick
from da3jax.training.data import Batch, Batches, DataConfig
from da3jax.training.data.procedural import scene_seed
from da3jax.training.losses import Targets
from tests.models.tiny import ANYVIEW, params_of


@pytest.mark.slow
def test_the_truth_has_no_error_and_is_better_than_the_baselines(batches):
    def truth(batch):
        depth = np.where(batch.targets.valid(), 3 * batch.targets.depth, 1)
        return {"depth": depth, "head": batch.targets.extrinsics, "rays": batch.targets.extrinsics}

    guess = yardstick.baselines(20)
    for views in yardstick.CHOSEN:
        found, blind = (yardstick.measure(predict, batches, views) for predict in (truth, guess))
        np.testing.assert_allclose(found["abs_rel"], 0, atol=1e-6)
        assert (found["delta1"], found["head_auc_30"], found["rays_auc_3"]) == (1, 100, 100)
        assert blind["abs_rel"] > 0.2
        assert blind["head_auc_30"] < 30


def test_fewer_views_are_some_of_the_eight(batches):
    assert batches[0].images.shape == (4, 8, 84, 112, 3)
    four, two = (yardstick.of_views(batches[0], views) for views in (4, 2))
    np.testing.assert_array_equal(four.images, batches[0].images[:, [0, 2, 4, 6]])
    np.testing.assert_array_equal(two.targets.extrinsics, batches[0].targets.extrinsics[:, [0, 4]])


def test_the_pair_is_the_same_pictures_whatever_the_number_of_views():
    rng = np.random.default_rng(0)
    depth = rng.uniform(1, 2, (3, 8, 4, 6)).astype(np.float32)
    extrinsics = np.tile(np.eye(3, 4, dtype=np.float32), (3, 8, 1, 1))
    extrinsics[..., 3] = rng.standard_normal((3, 8, 3))
    batch = Batch(np.zeros((*depth.shape, 3), np.float32), Targets(depth, depth > 1.1, extrinsics, np.ones((3, 8, 3, 3), np.float32)))

    def blurred(batch):  # of the pair what it says depends on nothing but the pair
        cameras = np.array(batch.targets.extrinsics)
        cameras[..., 3] **= 3
        return {"depth": np.sqrt(batch.targets.depth), "head": cameras, "rays": cameras}

    found = [yardstick.measure(blurred, [batch], views) for views in yardstick.CHOSEN]
    assert len({row["abs_rel"] for row in found}) == 3
    assert len({(row["pair_abs_rel"], row["pair_head_auc_30"]) for row in found}) == 1
    assert found[-1]["pair_abs_rel"] == found[-1]["abs_rel"] > 0
    assert found[0]["head_auc_30"] < found[0]["agree_auc_30"] == 100  # both are wrong alike


def test_no_training_draws_its_scenes():
    ours = {tuple(scene_seed((yardstick.SEED, i))) for i in range(yardstick.SCENES)}
    assert len(ours) == yardstick.SCENES
    with Batches(DataConfig(views=(2,), sizes=((28, 42),), batch_tokens=12 * 500), seed=0) as drawn:
        assert not ours & {tuple(seed) for seed in next(drawn).batch.seeds}


@pytest.mark.integration
def test_a_network_is_asked_with_all_views_with_one_and_with_their_cameras():
    rng = np.random.default_rng(0)
    extrinsics = np.tile(np.eye(3, 4, dtype=np.float32), (1, 2, 1, 1))
    extrinsics[:, 1, 0, 3] = 1
    intrinsics = np.tile(np.float32([[40, 0, 21], [0, 40, 14], [0, 0, 1]]), (1, 2, 1, 1))
    depth = np.ones((1, 2, 28, 42), np.float32)
    batch = Batch(rng.random((1, 2, 28, 42, 3), np.float32), Targets(depth, depth > 0, extrinsics, intrinsics))
    network = functools.partial(yardstick.network, params_of(ANYVIEW), ANYVIEW)
    both, alone, given = (network(**options)(batch) for options in ({}, {"one_view": True}, {"conditioned": True}))
    for found in (both, given):
        assert {name: x.shape for name, x in found.items()} == {"depth": depth.shape, "head": (1, 2, 3, 4), "rays": (1, 2, 3, 4)}
    assert alone["depth"].shape == depth.shape
    assert np.abs(alone["depth"] - both["depth"]).max() > 1e-4
    assert np.abs(given["depth"] - both["depth"]).max() > 1e-4


@pytest.mark.slow
def test_the_table_has_a_network_as_it_is_with_one_view_and_with_cameras(released_dir, tmp_path, capsys):
    folders = [str(released_dir), str(released_dir.parent / "single_view")]
    yardstick.main([*folders, "--views", "2", "--scenes", "1", "--training-scenes", "2", "--json", str(tmp_path / "figures.json")])
    rows = [row.split(" | ") for row in capsys.readouterr().out.splitlines()[2:]]
    any_view, single_view = folders
    names = ["baselines", any_view, f"{any_view}, one view at a time", f"{any_view}, given the cameras"]
    assert [row[0].removeprefix("| ") for row in rows] == [*names, single_view, f"{single_view}, one view at a time"]
    figures = json.loads((tmp_path / "figures.json").read_text())
    for name in names[1:]:
        assert np.isfinite(list(figures[f"{name}, 2 views"].values())).all()
    assert set(figures[f"{any_view}, given the cameras, 2 views"]) >= {"abs_rel", "head_auc_30", "rays_auc_30"}
    assert set(figures[f"{single_view}, 2 views"]) == {"abs_rel", "delta1", "rmse", "pair_abs_rel", "pair_delta1", "pair_rmse"}
