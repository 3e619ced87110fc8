"""On four scenes that a network can learn by heart, the reward for confidence runs away, and the guard holds it."""

import numpy as np
import pytest

from tests.training.tiny import run as config_of

pytestmark = pytest.mark.slow

GUARD, STEPS = 20.0, 200


def learned(make_run, scenes, guard):
    """Loss of depth and norm of the gradient over the steps, at the reward of 1 that collapsed for others."""
    losses = {"confidence_reward": 1.0, "max_confidence": guard}
    run = make_run(config_of("unused", losses=losses, optimizer={"warmup_steps": 20, "learning_rate": 3e-3}, steps=STEPS))
    batch = scenes(4)
    return np.transpose([[found[name] for name in ("depth", "gradient_norm")] for found in (run.step(batch) for _ in range(STEPS))])


def test_confidence_collapses_without_the_guard_and_not_with_it(make_run, scenes):
    free, free_norm = learned(make_run, scenes, None)
    held, held_norm = learned(make_run, scenes, GUARD)
    floor = -np.log(GUARD)  # that of a pixel without an error, as sure as the guard allows
    assert free[-20:].min() < floor
    assert held.min() >= floor
    assert held[-1] < 0.8 * floor  # it learns depth all the same
    assert free_norm[-50:].mean() > 3 * held_norm[-50:].mean()
