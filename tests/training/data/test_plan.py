"""The plan of a batch depends on the seed and its number only."""

import numpy as np
import pytest

from da3jax.training.data import DataConfig, FolderConfig, ProceduralConfig, batch_size
from da3jax.training.data.plan import Plan, shuffled

CONFIG = DataConfig(
    (ProceduralConfig(weight=1), FolderConfig("a", weight=3), FolderConfig("b", weight=0)),
    views=(1, 2, 5),
    sizes=((28, 28), (28, 42), (56, 14)),
    batch_tokens=200,
)


@pytest.fixture(scope="module")
def plans():
    plan = Plan(CONFIG, 5, 4)
    return [plan[i] for i in range(3000)]


def test_any_batch_comes_out_alone_as_in_turn(plans):
    for index in (2999, 0, 1024, 1023, 77):
        assert Plan(CONFIG, 5, 4)[index] == plans[index]
    assert Plan(CONFIG, 6, 4)[3] != plans[3] or Plan(CONFIG, 6, 4)[4] != plans[4]


def test_shares_follow_the_weights(plans):
    shares = np.bincount([plan.source for plan in plans], minlength=3) / len(plans)
    np.testing.assert_allclose(shares, [0.25, 0.75, 0], atol=0.03)


def test_views_and_sizes_are_even(plans):
    for drawn, count in (([plan.views for plan in plans], 3), ([(plan.height, plan.width) for plan in plans], 3)):
        _, counts = np.unique(drawn, axis=0, return_counts=True)
        assert len(counts) == count
        np.testing.assert_allclose(counts / len(plans), 1 / 3, atol=0.04)


def test_the_budget_is_kept_and_scenes_are_a_multiple(plans):
    for plan in plans:
        patches = len(plan.positions) * plan.views * plan.height * plan.width // 196
        assert len(plan.positions) % 4 == 0
        assert patches <= 200
        assert patches + 4 * plan.views * plan.height * plan.width // 196 > 200


def test_a_batch_larger_than_the_budget_has_one_scene_a_device():
    assert batch_size(18, (504, 504), 46_656) == 2
    assert batch_size(18, (504, 504), 46_656, 8) == 8
    assert batch_size(2, (504, 504), 46_656, 8) == 16


def test_each_source_is_walked_through_without_gaps(plans):
    for source in (0, 1):
        positions = [position for plan in plans if plan.source == source for position in plan.positions]
        assert positions == list(range(len(positions)))


def test_an_epoch_has_every_sample_once_and_each_its_own_order():
    epochs = [[shuffled(5, 1, epoch * 20 + i, 20) for i in range(20)] for epoch in range(3)]
    for epoch in epochs:
        assert sorted(epoch) == list(range(20))
    assert epochs[0] != epochs[1] != epochs[2]
    assert epochs[0] != [shuffled(5, 2, i, 20) for i in range(20)]
    assert epochs[0] != [shuffled(6, 1, i, 20) for i in range(20)]
