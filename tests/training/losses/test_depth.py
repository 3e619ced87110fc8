"""Depth losses: absolute, relative, of gradients, and up to scale and shift."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax.training import losses

MAPS = np.random.default_rng(0).uniform(1, 5, (2, 2, 4, 6)).astype(np.float32)
DEPTH, TRUE = MAPS
MASK = np.random.default_rng(1).random(TRUE.shape) > 0.3

depth_loss, scale_shift_invariant_loss = map(jax.jit, (losses.depth_loss, losses.scale_shift_invariant_loss))
relative_depth_loss = jax.jit(losses.relative_depth_loss)
gradient_loss = jax.jit(losses.gradient_loss, static_argnames="scales")


def test_depth_loss_without_confidence_is_the_mean_absolute_error():
    mask = np.array([[True, True, False]])
    assert float(depth_loss(np.float32([[1, 2, 3]]), np.float32([[2, 5, 9]]), mask)) == 2


def test_depth_loss_is_weighted_by_confidence():
    mask, confidence = np.array([[True, True, False]]), np.float32([[1, 3, 7]])
    found = depth_loss(np.float32([[1, 2, 3]]), np.float32([[2, 5, 9]]), mask, confidence, reward=0.2, max_confidence=2)
    assert float(found) == pytest.approx((1 + 2 * 3 - 0.2 * np.log(2)) / 2)


def test_relative_depth_loss_by_hand_is_the_same_at_any_scale_of_a_scene():
    depth, target = np.float32([[1, 6, 3], [1, 1, 1]]), np.float32([[2, 5, 0], [3, 3, 3]])
    mask = np.array([[True, True, False], [True, False, False]])
    # ratios 1/2 and 6/5, of which the second becomes 1; the other scene's only one does
    expected = (1 - (1 / 2) / (6 / 5)) / 3
    assert float(relative_depth_loss(depth, target, mask)) == pytest.approx(expected)
    assert float(relative_depth_loss(np.float32([[9], [0.1]]) * depth, 7 * target, mask)) == pytest.approx(expected)


def test_no_other_scale_makes_relative_depth_closer():
    scales = np.linspace(0.2, 3, 2001).reshape(-1, 1, 1)
    errors = [np.abs(scales * depth / true - 1)[:, mask].mean(axis=1).min() for depth, true, mask in zip(DEPTH, TRUE, MASK, strict=True)]
    assert float(relative_depth_loss(DEPTH, TRUE, MASK)) == pytest.approx(np.average(errors, weights=MASK.sum(axis=(1, 2))), rel=1e-3)


def test_the_gradient_of_relative_depth_is_that_with_its_scale_fixed():
    target, mask = np.ones((1, 5), np.float32), np.ones((1, 5), bool)
    gradient = jax.grad(losses.relative_depth_loss)(np.float32([[1, 2, 4, 8, 9]]), target, mask)
    assert np.delete(gradient[0], 3) == pytest.approx(np.float32([-1, -1, -1, 1]) / 8 / 5)  # half of what the ratios sum up to lies at 8


def test_gradient_loss_of_one_scale_by_hand():
    depth = np.float32([[0, 1, 4], [0, 0, 0]])
    mask = np.array([[True, True, True], [True, True, False]])
    # horizontal |1|, |3|, |0| of valid pairs, vertical |0|, |1|
    assert float(gradient_loss(depth, np.zeros_like(depth), mask, scales=1)) == pytest.approx(4 / 3 + 1 / 2)


def test_gradient_loss_takes_every_second_pixel_at_the_second_scale():
    depth = np.float32([[0, 5, 1, 5, 4]])
    mask = np.ones_like(depth, bool)
    # first 5, 4, 4, 1, then of 0, 1, 4: 1, 3; there are no vertical pairs
    assert float(gradient_loss(depth, np.zeros_like(depth), mask, scales=2)) == pytest.approx((14 / 4 + 2) / 2)


def test_gradient_loss_does_not_see_a_shift_and_sees_an_edge():
    assert float(gradient_loss(TRUE + 3, TRUE, MASK)) == pytest.approx(0, abs=1e-6)
    assert float(gradient_loss(np.where(np.arange(6) < 3, TRUE, TRUE + 1).astype(np.float32), TRUE, MASK)) > 0.1


def test_scale_shift_invariant_loss_by_hand():
    depth, target = np.float32([[1, 2, 3, 100]]), np.float32([[0, 0, 6, 0]])
    mask = np.array([[True, True, True, False]])
    # medians 2 and 0, mean deviations 2/3 and 2: −1.5, 0, 1.5 against 0, 0, 3
    assert float(scale_shift_invariant_loss(depth, target, mask)) == pytest.approx(1)


def test_scale_and_shift_of_either_depth_change_nothing_and_the_sign_does():
    first = scale_shift_invariant_loss(DEPTH, TRUE, MASK)
    each = np.float32([3, 0.25]).reshape(2, 1, 1)
    np.testing.assert_allclose(scale_shift_invariant_loss(each * DEPTH - 7 * each, TRUE, MASK), first, rtol=1e-5)
    np.testing.assert_allclose(scale_shift_invariant_loss(DEPTH, 5 * TRUE + each, MASK), first, rtol=1e-5)
    assert float(scale_shift_invariant_loss(2 * TRUE + 1, TRUE, MASK)) == pytest.approx(0, abs=1e-6)
    assert float(scale_shift_invariant_loss(-TRUE, TRUE, MASK)) == pytest.approx(2, abs=0.2)  # the mean deviation, twice


def test_a_constant_prediction_has_a_finite_loss(assert_nothing_leaks):
    assert float(scale_shift_invariant_loss(np.full_like(TRUE, 2), TRUE, MASK)) == pytest.approx(1)  # that of the target's deviations
    assert_nothing_leaks(scale_shift_invariant_loss, np.full_like(TRUE, 2), TRUE, MASK)


LOSSES = {
    "depth": depth_loss,
    "relative depth": relative_depth_loss,
    "gradient": functools.partial(gradient_loss, scales=2),
    "scale shift invariant": scale_shift_invariant_loss,
}


@pytest.mark.parametrize("loss", [loss for loss in LOSSES if loss != "relative depth"])
def test_gradients_are_numerical_differences(assert_gradients, loss):
    assert_gradients(lambda depth: LOSSES[loss](depth, jnp.asarray(TRUE, depth.dtype), MASK), DEPTH)


@pytest.mark.parametrize("loss", LOSSES)
def test_what_is_not_in_the_mask_does_not_leak(assert_nothing_leaks, loss):
    assert_nothing_leaks(LOSSES[loss], DEPTH, TRUE, MASK)


@pytest.mark.parametrize("loss", LOSSES)
def test_a_perfect_prediction_gives_zero(loss):
    assert float(LOSSES[loss](TRUE, TRUE, MASK)) == 0


def test_a_negative_prediction_does_not_move_the_scale_of_the_others():
    depth, target = np.float32([[2, 2, 2, -9]]), np.ones((1, 4), np.float32)
    mask = np.ones((1, 4), bool)
    # the scale is 1/2 whatever the last one is
    assert float(relative_depth_loss(depth, target, mask)) == pytest.approx((9 / 2 + 1) / 4)
