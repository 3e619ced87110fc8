"""The confidence-weighted error and its guard."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax.training import losses

EVERYWHERE = np.ones(3, bool)

confidence_loss = jax.jit(losses.confidence_loss, static_argnames=("reward", "max_confidence"))
confidence_statistics = jax.jit(losses.confidence_statistics)


def test_the_value_is_that_of_the_paper():
    error, confidence = np.float32([0.5, 2, 9]), np.float32([1, np.e, 4])
    mask = np.array([True, True, False])
    # (1 · 0.5 − 0.2 · 0 + e · 2 − 0.2 · 1) / 2
    found = confidence_loss(error, confidence, mask, reward=0.2)
    assert float(found) == pytest.approx((0.5 + 2 * np.e - 0.2) / 2)


@pytest.mark.parametrize("maximum", [None, 3.0])
def test_gradients_are_numerical_differences(assert_gradients, maximum):
    # the last pixel is above the maximum and accurate: there the guard has neither a value nor a gradient
    assert_gradients(lambda e, c: confidence_loss(e, c, EVERYWHERE, reward=0.2, max_confidence=maximum), [0.3, 1.7, 0.01], [1.5, 2.5, 5.0])


def test_without_a_guard_more_confidence_in_small_errors_is_always_rewarded_and_with_it_not():
    error, sure = jnp.full(3, 1e-6), jnp.float32([10, 1e3, 1e6])
    free = [float(confidence_loss(error, jnp.full(3, c), EVERYWHERE, reward=0.2)) for c in sure]
    guarded = [float(confidence_loss(error, jnp.full(3, c), EVERYWHERE, reward=0.2, max_confidence=10)) for c in sure]
    assert free[2] < free[1] < free[0]
    assert guarded == pytest.approx([guarded[0]] * 3)


def test_the_guard_bounds_what_one_pixel_counts():
    def slope(maximum):
        of_error = jax.grad(lambda e: confidence_loss(e, jnp.full(3, 1e4), EVERYWHERE, reward=0.2, max_confidence=maximum))
        return float(of_error(jnp.ones(3))[0])

    assert slope(None) == pytest.approx(1e4 / 3)
    assert slope(20.0) == pytest.approx(20 / 3)


def test_below_the_maximum_the_guard_changes_nothing():
    error, confidence = jnp.float32([0.5, 2, 9]), jnp.float32([1, 3, 4])
    losses = [confidence_loss(error, confidence, EVERYWHERE, reward=0.2, max_confidence=m) for m in (None, 4.0)]
    assert losses[0] == losses[1]


def test_too_much_confidence_in_a_large_error_is_pulled_down_and_in_a_small_one_left():
    of_confidence = jax.grad(lambda c, e: confidence_loss(e, c, EVERYWHERE, reward=0.2, max_confidence=10.0))
    pulled = of_confidence(jnp.full(3, 50.0), jnp.float32([1, 0.02, 0.001]))  # an error of 0.02 deserves a confidence of 10
    np.testing.assert_allclose(pulled, [(1 - 0.02) / 3, 0, 0], atol=1e-7)


def test_the_best_confidence_is_the_reward_over_the_error():
    of_confidence = jax.grad(lambda c: confidence_loss(jnp.float32([0.1, 0.05, 0.02]), c, EVERYWHERE, reward=0.2))
    np.testing.assert_allclose(of_confidence(jnp.float32([2, 4, 10])), 0, atol=1e-7)


def test_what_is_not_in_the_mask_does_not_leak(assert_nothing_leaks):
    mask = np.array([True, False, True])
    assert_nothing_leaks(lambda c, e, m: confidence_loss(jnp.abs(e), c, m, reward=0.2, max_confidence=4.0), [1.5, 2, 8], [0.3, 1, 2], mask)


def test_an_unknown_confidence_outside_the_mask_does_not_leak():
    mask = np.array([True, False, True])
    grads = jax.grad(lambda e, c: confidence_loss(e, c, mask, reward=0.2), argnums=(0, 1))(jnp.ones(3), jnp.float32([2, np.nan, 4]))
    np.testing.assert_allclose(grads[0], [1, 0, 2])
    np.testing.assert_allclose(grads[1], [(1 - 0.1) / 2, 0, (1 - 0.05) / 2])


def test_statistics_are_of_the_mask_alone():
    found = confidence_statistics(np.float32([1, 3, 8, np.nan]), np.array([True, True, True, False]), 5.0)
    assert {name: float(value) for name, value in found.items()} == pytest.approx({"mean": 4, "max": 8, "clamped": 1 / 3})
    assert float(confidence_statistics(np.float32([1, 3]), np.array([True, True]))["clamped"]) == 0
    assert {float(x) for x in confidence_statistics(np.float32([1, 3]), np.zeros(2, bool)).values()} == {0}
