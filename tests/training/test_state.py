import jax
import numpy as np

from da3jax.training.optimizer import OptimizerConfig, make_optimizer, split
from da3jax.training.state import averaged_params, init_state

PARAMS = {"backbone": {"kernel": np.ones((2, 2), np.float32)}, "head": {"kernel": np.ones((2, 3), np.float32)}}


def state_of(**fields):
    config = OptimizerConfig(**fields)
    return config, init_state(PARAMS, make_optimizer(config, split(PARAMS, config.freeze)[0]), config)


def test_averages_take_the_place_of_what_is_trained_and_frozen_parameters_stay():
    config, state = state_of(freeze=("^backbone/",), ema=0.9)
    changed = jax.tree.map(lambda x: 5 * x, state.average)
    found = averaged_params(type(state)(state.step, state.params, state.opt_state, changed), config)
    np.testing.assert_array_equal(found["head"]["kernel"], 5 * PARAMS["head"]["kernel"])
    np.testing.assert_array_equal(found["backbone"]["kernel"], PARAMS["backbone"]["kernel"])


def test_without_averages_it_is_the_parameters():
    config, state = state_of()
    assert averaged_params(state, config) is state.params
