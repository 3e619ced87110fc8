"""Scale and shift of least absolute error."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax.training import losses

RNG = np.random.default_rng(0)

align_least_absolute = jax.jit(losses.align_least_absolute, static_argnames="samples")


def best_of_all_pairs(x, y, weight):
    """The least error of any line through two points with a positive slope."""
    scale = (y[:, None] - y) / np.where(x[:, None] == x, np.nan, x[:, None] - x)
    shift = y[:, None] - scale * x[:, None]
    errors = np.sum(weight * np.abs(scale[..., None] * x + shift[..., None] - y), axis=-1)
    return np.nanmin(np.where(scale > 0, errors, np.nan))


def test_no_line_through_two_points_is_better():
    x, y = RNG.uniform(1, 5, (2, 4, 12)).astype(np.float32)
    y = np.float32(0.3 * y + 2 * x)
    weight = RNG.uniform(0, 1, x.shape).astype(np.float32)
    scale, shift = align_least_absolute(x, y, weight, samples=12)
    errors = np.sum(weight * np.abs(scale[:, None] * x + shift[:, None] - y), axis=-1)
    np.testing.assert_allclose(errors, [best_of_all_pairs(*maps) for maps in zip(x, y, weight, strict=True)], rtol=1e-5)


def test_scale_and_shift_are_exact_among_outliers_and_unknown_points():
    x = RNG.uniform(1, 5, 400).astype(np.float32)
    y, weight = 2.5 * x - 0.7, RNG.uniform(0.5, 1, 400).astype(np.float32)
    y[::3] += 50
    x[1::10], y[1::10], weight[1::10] = np.nan, np.inf, 0
    for samples in (400, 64):
        scale, shift = align_least_absolute(x, y, weight, samples=samples)
        assert float(scale) == pytest.approx(2.5, rel=1e-4)
        assert float(shift) == pytest.approx(-0.7, abs=1e-3)


def test_few_known_points_are_all_used():
    x, y, weight = np.zeros(1000, np.float32), np.zeros(1000, np.float32), np.zeros(1000, np.float32)
    known = [3, 500, 501, 999]
    x[known], y[known], weight[known] = [1, 2, 3, 4], [3, 5, 7, 9], 1
    assert [float(z) for z in align_least_absolute(x, y, weight, samples=4)] == pytest.approx([2, 1])
    assert [float(z) for z in align_least_absolute(x, y, weight, samples=16)] == pytest.approx([2, 1])


def test_samples_are_spread_over_rows_and_columns():
    columns = np.broadcast_to(np.arange(32, dtype=np.float32), (32, 32))
    rows = columns.T
    for truth in (rows, columns):  # samples at equal distances would see one column only
        scale, _ = align_least_absolute(truth.ravel(), 3 * truth.ravel(), np.ones(1024, np.float32), samples=32)
        assert float(scale) == pytest.approx(3)


def test_a_prediction_that_falls_where_the_target_rises_is_scaled_by_the_deviations():
    x, y = np.float32([1, 2, 3]), np.float32([8, 4, 0])
    scale, shift = align_least_absolute(x, y, np.ones(3, np.float32), samples=3)
    assert float(scale) == pytest.approx(4)  # deviations 8/3 and 2/3
    assert float(shift) == pytest.approx(4 - 4 * 2)


@pytest.mark.parametrize(("x", "weight"), [([2, 2, 2], [1, 1, 1]), ([1, 2, 3], [0, 1, 0]), ([1, 2, 3], [0, 0, 0])])
def test_what_cannot_be_determined_has_scale_zero(x, weight):
    scale, shift = align_least_absolute(np.float32(x), np.float32([1, 2, 5]), np.float32(weight), samples=3)
    assert (float(scale), float(shift)) == (0, 0)


def test_the_fit_is_a_constant_for_gradients():
    x, y = jnp.asarray(RNG.uniform(1, 5, (2, 9)).astype(np.float32))
    gradient = jax.grad(lambda z: sum(align_least_absolute(z, y, jnp.ones(9), samples=9)))(x)
    assert not gradient.any()
