"""One scale out of pairs of lengths: exact, noisy, mostly wrong, or none at all."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax.geometry import LengthScaleResult, scale_from_lengths
from tests.quick import quick_jit

fit = quick_jit(scale_from_lengths)
slopes = quick_jit(jax.grad(lambda *pairs: (found := scale_from_lengths(*pairs)).scale + found.residual, argnums=(0, 1)))


def lengths_of(count=200, seed=0):
    """Lengths of 0.1 to 10."""
    return np.exp(np.random.default_rng(seed).uniform(np.log(0.1), np.log(10), count))


@pytest.mark.parametrize("scale", [1e-4, 0.37, 1, 2.5, 1e5])
@pytest.mark.parametrize("count", [1, 2, 7, 200])
def test_exact_lengths_give_the_exact_scale(scale, count):
    reference = np.float32(lengths_of(count))
    found = fit(reference / np.float32(scale), reference)
    assert found.result == LengthScaleResult.SUCCESS
    assert float(found.scale) == pytest.approx(scale, rel=3e-7)
    assert found.inlier_share == 1
    assert float(found.residual) <= 1e-6 * reference.max()


def test_float64_stays_float64():
    with jax.enable_x64(True):
        reference = lengths_of()
        found = fit(reference / np.pi, reference)
        assert found.scale.dtype == np.float64
        assert float(found.scale) == pytest.approx(np.pi, rel=1e-15)


WRONG = {
    "far too long": lambda true, rng: true * rng.uniform(2, 50, true.shape),
    "far too short": lambda true, rng: true / rng.uniform(2, 50, true.shape),
    "a little too long": lambda true, rng: true * rng.uniform(1, 2, true.shape),
    "another scale": lambda true, rng: true * 1.5,
    "anything": lambda true, rng: rng.uniform(0.1, 10, true.shape),
}


@pytest.mark.parametrize("kind", WRONG)
@pytest.mark.parametrize("noise", [0, 0.01])
@pytest.mark.parametrize("seed", range(3))
def test_forty_percent_wrong_lengths_are_left_out(kind, noise, seed):
    rng = np.random.default_rng(seed)
    true = lengths_of(1000, seed)
    reference = true * np.exp(noise * rng.standard_normal(1000))
    wrong = rng.permutation(1000) < 400
    found = fit(true / 2.5, np.where(wrong, WRONG[kind](true, rng), reference))
    assert float(found.scale) == pytest.approx(2.5, rel=0.3 * noise + 1e-6)
    # Of lengths that are a little wrong, some cannot be told from noise.
    assert float(found.inlier_share) == pytest.approx(0.6, abs=1.5 * noise + 1e-6)
    clean = np.sqrt(np.mean((true - reference)[~wrong] ** 2))
    assert float(found.residual) == pytest.approx(clean, rel=0.1, abs=1e-6)


def test_over_noise_alone_it_is_least_squares():
    rng = np.random.default_rng(0)
    lengths = lengths_of(1000)
    reference = 3 * lengths * (1 + 0.05 * rng.standard_normal(1000))
    found = fit(lengths, reference)
    assert float(found.scale) == pytest.approx((lengths @ reference) / (lengths @ lengths), rel=5e-4)
    assert float(found.inlier_share) > 0.985


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 0, -1])
def test_pairs_that_are_no_lengths_do_not_count(bad):
    lengths, reference = lengths_of(5), 2 * lengths_of(5)
    lengths[[0, 1]], reference[[1, 2]] = bad, bad
    found = fit(lengths, reference)
    assert float(found.scale) == pytest.approx(2, rel=1e-6)
    assert (found.inlier_share, found.result) == (1, 0)


def test_pairs_outside_the_mask_do_not_count():
    lengths = lengths_of(10)
    mask = np.arange(10) < 3
    found = fit(lengths, np.where(mask, 2, 7) * lengths, mask)
    assert float(found.scale) == pytest.approx(2, rel=1e-6)
    assert found.inlier_share == 1


def test_two_lengths_that_disagree_meet_between_and_the_residual_says_so():
    found = fit(jnp.array([1.0, 1.0]), jnp.array([1.9, 2.1]))
    assert float(found.scale) == pytest.approx(2)
    assert float(found.residual) == pytest.approx(0.1, rel=1e-5)


@pytest.mark.parametrize("lengths", [np.zeros(0), np.zeros(4), np.full(4, np.nan)], ids=["no pair", "zeros", "NaN"])
def test_nothing_to_fit_is_left_alone_and_said(lengths):
    found = fit(lengths, np.ones(lengths.shape))
    assert found.result == LengthScaleResult.TOO_FEW
    assert (found.scale, found.inlier_share, found.residual) == (1, 0, 0)
    slopes = jax.grad(lambda *x: (y := scale_from_lengths(*x)).scale + y.residual, argnums=(0, 1))(
        jnp.array(lengths), jnp.ones(lengths.shape)
    )
    assert all(np.isfinite(slope).all() for slope in slopes)


def test_batches_are_fits_of_their_own():
    lengths = np.stack([lengths_of(50, i) for i in range(6)]).reshape(2, 3, 50)
    true = np.array([[1.0, 2, 3], [4, 5, 6]])
    reference = true[..., None] * lengths
    reference[1, 2] = np.nan
    reference[0, 1, :20] *= 3
    found = fit(lengths, reference)
    np.testing.assert_allclose(found.scale, [[1, 2, 3], [4, 5, 1]], rtol=1e-6)
    np.testing.assert_allclose(found.inlier_share, [[1, 0.6, 1], [1, 1, 0]], rtol=1e-6)
    np.testing.assert_array_equal(found.result, [[0, 0, 0], [0, 0, 1]])
    none = fit(np.zeros((2, 3, 0)), np.zeros((2, 3, 0)))
    np.testing.assert_array_equal(none.result, np.ones((2, 3)))


def test_very_many_pairs_keep_float32_precision():
    rng = np.random.default_rng(0)
    true = np.float32(rng.uniform(1, 5, 250_000))
    assert float(fit(true / np.float32(1.7), true).scale) == pytest.approx(1.7, rel=2e-7)


@pytest.mark.parametrize("scale", [1e-30, 1e30])
def test_exact_lengths_of_other_units_are_all_inliers(scale):
    lengths = np.float32(lengths_of())
    found = fit(lengths, np.float32(scale) * lengths)
    assert float(found.scale) == pytest.approx(scale, rel=1e-5)
    assert found.inlier_share == 1


def test_gradients_are_finite_on_an_exact_fit():
    reference = jnp.array(lengths_of(), jnp.float32)
    assert all(np.isfinite(slope).all() for slope in slopes(reference / 2, reference))


def test_derivatives_are_those_of_least_squares_over_the_inliers(assert_derivatives):
    rng = np.random.default_rng(0)
    lengths = lengths_of(12)
    reference = 2 * lengths * (1 + 0.02 * rng.standard_normal(12))
    reference[:3] *= 4
    reference[3] = -1
    assert_derivatives(lambda x, y: jnp.stack([(found := scale_from_lengths(x, y)).scale, found.residual]), lengths[None], reference[None])


def test_lengths_that_are_no_pairs_are_refused():
    with pytest.raises(ValueError, match=r"lengths have the shape \(3,\) and reference \(1,\); they are pairs"):
        scale_from_lengths(np.ones(3), np.ones(1))
