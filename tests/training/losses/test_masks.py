"""Sky and object masks."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax.training.losses import mask_loss


def test_the_loss_is_the_mean_squared_error():
    assert float(mask_loss(jnp.float32([0.5, 1, 2]), np.array([True, True, False]))) == pytest.approx((0.25 + 0 + 4) / 3)


def test_pixels_nobody_knows_do_not_count():
    value, gradient = jax.value_and_grad(mask_loss)(jnp.float32([0.5, 1, 2]), np.float32([1, np.nan, 0.5]))
    assert float(value) == pytest.approx((0.25 + 2.25) / 2)
    np.testing.assert_allclose(gradient, [-0.5, 0, 1.5])
    value, gradient = jax.value_and_grad(mask_loss)(jnp.float32([0.5, 1]), np.float32([np.nan, np.nan]))
    assert value == 0
    assert not gradient.any()


def test_gradients_are_numerical_differences(assert_gradients):
    assert_gradients(lambda p: mask_loss(p, np.array([True, False, True])), [0.3, 0.7, 1.2])
