"""What tests of several losses share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads


@pytest.fixture
def assert_gradients():
    """Checks forward and reverse gradients of a function of arrays against numerical differences, in float64."""

    def check(function, *arrays, eps=1e-6):
        with jax.enable_x64(True):
            arrays = tuple(jnp.asarray(x, jnp.float64) for x in arrays)
            check_grads(jax.jit(function), arrays, order=1, eps=eps, atol=1e-6, rtol=1e-6)

    return check


@pytest.fixture
def assert_nothing_leaks():
    """Checks that where the mask is False NaN, infinity and zero in the target give the same value and the same finite gradient, which is 0
    there, and that an empty mask gives 0 and gradients of 0.

    The function takes (prediction, target, mask); the mask has one axis for each leading axis of the two.
    """

    def check(function, prediction, target, mask):
        value_and_grad = jax.jit(jax.value_and_grad(function))
        prediction, target = jnp.asarray(prediction, jnp.float32), np.asarray(target, np.float32)
        results = [value_and_grad(prediction, np.where(_like(mask, target), target, np.float32(x)), mask) for x in (0, np.nan, np.inf)]
        assert results[0][0].dtype == jnp.float32
        for value, gradient in results:
            assert np.isfinite(value)
            assert value == results[0][0]
            assert np.isfinite(gradient).all()
            np.testing.assert_array_equal(gradient, results[0][1])
            assert not np.where(_like(mask, gradient), 0, gradient).any()
        value, gradient = value_and_grad(prediction, np.full_like(target, np.nan), np.zeros_like(mask))
        assert value == 0
        assert not np.asarray(gradient).any()

    return check


def _like(mask, x):
    return mask.reshape(*mask.shape, *(1,) * (x.ndim - mask.ndim))
