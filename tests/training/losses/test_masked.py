"""Means and medians over what counts."""

import numpy as np
import pytest

from da3jax.training.losses.masked import masked_mean, masked_median, median_and_deviation

X = np.float32([[5, 1, np.nan, 4, 2], [7, 3, 9, np.inf, 8], [1, 2, 3, 4, 5]])
MASK = np.array([[True, True, False, True, True], [True, True, True, False, False], [False] * 5])


def test_the_mean_is_that_of_the_mask():
    assert float(masked_mean(X, MASK)) == pytest.approx((12 + 19) / 7)
    assert masked_mean(X, np.zeros_like(MASK)) == 0


def test_of_two_in_the_middle_the_lower_one_is_the_median():
    np.testing.assert_array_equal(masked_median(X, MASK), [[2], [7], [0]])


def test_the_deviation_is_the_mean_distance_from_the_median():
    median, deviation = median_and_deviation(X, MASK)
    np.testing.assert_array_equal(median, [[2], [7], [0]])
    np.testing.assert_allclose(deviation, [[6 / 4], [6 / 3], [0]], rtol=1e-6)
