"""The teacher's loss, up to scale and shift of the view and of its windows."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax.training.losses import align_depth, global_local_loss

RNG = np.random.default_rng(0)
SIZE = 8
INTRINSICS = np.broadcast_to(np.float32([[2, 0, 4], [0, 2, 4], [0, 0, 1]]), (2, 3, 3))
"""So wide that every depth below is near enough to its window's median."""
MASK = RNG.random((2, SIZE, SIZE)) > 0.2
TRUE = RNG.uniform(1, 1.5, (2, SIZE, SIZE)).astype(np.float32)
DEPTH = np.float32(TRUE + RNG.uniform(-0.2, 0.2, TRUE.shape))

quick = jax.jit(global_local_loss, static_argnames=("levels", "samples", "least_pixels"))
align = jax.jit(align_depth, static_argnames="samples")
loss = functools.partial(quick, intrinsics=INTRINSICS, levels=(2,), samples=64, least_pixels=4)
"""Windows of 4 × 4 pixels, fitted to all of them."""


def test_the_global_part_is_the_mean_relative_error_of_the_best_line():
    depth, target = np.float32([[[1, 2, 3, 4, 5]]]), np.float32([[[1, 2, 3, 4, 10]]])
    found = quick(depth, target, np.ones((1, 1, 5), bool), INTRINSICS[:1], levels=(), samples=5)
    assert float(found) == pytest.approx(0.5 / 5)  # the last pixel is 5 of 10 away


def test_the_nearest_pixels_count_as_if_they_were_at_a_tenth_of_the_harmonic_mean():
    depth, target = np.full((1, 1, 20), 1, np.float32), np.full((1, 1, 20), 1, np.float32)
    depth[..., 0], target[..., 0], depth[..., 1], target[..., 1] = 0.5, 1e-3, 2, 2
    inverse_mean = (1000 + 0.5 + 18) / 20
    found = quick(depth, target, np.ones((1, 1, 20), bool), INTRINSICS[:1], levels=(), samples=20, least_pixels=2)
    line = np.float32([x.item() for x in align(depth, target, np.ones((1, 1, 20), bool))])
    error = np.abs(line[0] * depth + line[1] - target) * np.minimum(1 / target, 10 * inverse_mean)
    assert float(found) == pytest.approx(error.mean(), rel=1e-5)
    assert 10 * inverse_mean < 1000


def test_each_view_has_its_own_scale_and_shift():
    each = np.float32([3, 0.2]).reshape(2, 1, 1)
    found = loss(each * TRUE - each, TRUE, MASK)
    assert float(found) == pytest.approx(0, abs=1e-6)
    np.testing.assert_allclose(loss(each * DEPTH + 5 * each, TRUE, MASK), loss(DEPTH, TRUE, MASK), rtol=1e-4)


def test_neither_does_the_scale_of_the_truth_change_it():
    np.testing.assert_allclose(loss(DEPTH, 7 * TRUE, MASK), loss(DEPTH, TRUE, MASK), rtol=1e-4)


def test_a_window_is_aligned_by_itself():
    depth, everywhere = TRUE.copy(), np.ones_like(MASK)
    depth[:, :4, 4:] += 0.4  # one of four windows is moved as a whole
    whole = quick(depth, TRUE, everywhere, INTRINSICS, levels=(), samples=64)
    assert float(whole) > 0.01
    assert float(loss(depth, TRUE, everywhere)) == pytest.approx(float(whole), rel=1e-5)  # nothing is added


def test_far_pixels_of_a_window_belong_to_another_surface():
    target = np.float32(2) + np.float32(0.1) * RNG.uniform(-1, 1, (1, 8, 8)).astype(np.float32)
    target[:, ::4, ::4] = 9  # one pixel of each window looks past the edge
    depth = target.copy()
    depth[:, ::4, ::4] = [[[30, 5], [5, 30]]]
    narrow = np.float32([[[20, 0, 4], [0, 20, 4], [0, 0, 1]]])
    everywhere = np.ones((1, 8, 8), bool)
    options = {"samples": 64, "least_pixels": 4}
    parts = [float(quick(depth, target, everywhere, narrow, levels=levels, **options)) for levels in ((), (2,))]
    assert parts[0] > 0.01
    assert parts[1] == pytest.approx(parts[0], rel=1e-4)


def test_windows_with_few_pixels_do_not_count():
    whole = quick(DEPTH, TRUE, MASK, INTRINSICS, levels=(), samples=64)
    assert float(loss(DEPTH, TRUE, MASK)) > float(whole)
    assert float(loss(DEPTH, TRUE, MASK, least_pixels=16)) == pytest.approx(float(whole))  # all windows have holes
    assert float(loss(DEPTH, TRUE, MASK, least_pixels=17)) == pytest.approx(float(whole))


def test_windows_over_the_border_are_filled_with_pixels_that_do_not_count():
    found = loss(DEPTH[:, :7, :7], TRUE[:, :7, :7], MASK[:, :7, :7])
    filled = np.pad(MASK[:, :7, :7], ((0, 0), (0, 1), (0, 1)))
    assert float(found) == pytest.approx(float(loss(DEPTH, TRUE, filled)), rel=1e-5)


def test_an_upside_down_prediction_is_told_which_way_to_go():
    value, gradient = jax.jit(jax.value_and_grad(loss))(jnp.asarray(3 - TRUE), TRUE, MASK)
    assert float(value) > 0.1
    assert np.abs(np.sum(gradient * TRUE)) > 0.01
    assert float(loss(3 - TRUE - 0.1 * gradient / np.abs(gradient).max(), TRUE, MASK)) < float(value)


@pytest.mark.integration
def test_gradients_are_numerical_differences_but_where_a_line_passes_through():
    with jax.enable_x64(True):
        intrinsics, true, depth = (jnp.asarray(x, jnp.float64) for x in (INTRINSICS, TRUE, DEPTH))

        @jax.jit
        def of_numbers(numbers):
            return global_local_loss(numbers.reshape(true.shape), true, MASK, intrinsics, levels=(2,), samples=64, least_pixels=4)

        moves = 1e-6 * jnp.eye(depth.size)
        ends = [jax.vmap(of_numbers)(depth.reshape(1, -1) + sign * moves) for sign in (-1, 1)]
        numerical = np.asarray(ends[1] - ends[0]) / 2e-6
        gradient = np.asarray(jax.grad(of_numbers)(depth.ravel()))
    same = np.isclose(gradient, numerical, atol=1e-7, rtol=1e-6)
    assert np.abs(gradient[same]).max() > 0.005
    assert 0 < np.sum(~same) <= 2 * (2 + 4 * 2)  # two pixels for each view and for each window


def test_what_is_not_in_the_mask_does_not_leak(assert_nothing_leaks):
    assert_nothing_leaks(loss, DEPTH, TRUE, MASK)
    assert_nothing_leaks(loss, np.ones_like(DEPTH), TRUE, MASK)


def test_an_alignment_found_before_is_used():
    alignment = align(DEPTH, TRUE, MASK, samples=64)
    assert loss(DEPTH, TRUE, MASK, alignment=alignment) == loss(DEPTH, TRUE, MASK)


@pytest.mark.parametrize(("contrast", "counts"), [(1 / 4, True), (4, True), (1 / 30, False), (30, False)])
def test_windows_whose_scale_is_ten_times_that_of_the_view_do_not_count(contrast, counts):
    rng = np.random.default_rng(1)
    true = rng.uniform(1, 1.5, (1, 32, 32)).astype(np.float32)
    depth = true.copy()
    window = true[:, :4, 4:8] + rng.uniform(-0.02, 0.02, (1, 4, 4)).astype(np.float32)
    depth[:, :4, 4:8] = 1.25 + contrast * (window - 1.25)
    everywhere, options = np.ones(true.shape, bool), {"samples": 1024, "least_pixels": 4}
    parts = [float(quick(depth, true, everywhere, INTRINSICS[:1], levels=levels, **options)) for levels in ((), (8,))]
    if counts:
        assert parts[1] > parts[0] + 1e-4
    else:
        assert parts[1] == pytest.approx(parts[0], rel=1e-5)


@pytest.mark.parametrize(("beyond", "counts"), [(0.35, True), (0.5, False)])
def test_a_windows_surface_reaches_half_its_diagonal_at_its_depth(beyond, counts):
    target = np.ones((1, 8, 16), np.float32)  # windows of 4 × 8 pixels, at depth 1 of 0.1 × 0.4, half of whose diagonal is 0.206
    target += np.float32(0.01) * np.random.default_rng(1).uniform(-1, 1, target.shape).astype(np.float32)
    target *= 2  # and here twice that
    target[:, 1, 1] = 2 + beyond
    depth = target.copy()
    depth[:, 1, 1] += 0.3
    narrow, everywhere = np.float32([[[20, 0, 8], [0, 40, 4], [0, 0, 1]]]), np.ones((1, 8, 16), bool)
    parts = [float(quick(depth, target, everywhere, narrow, levels=levels, samples=128, least_pixels=4)) for levels in ((), (2,))]
    assert parts[0] > 1e-4
    if counts:
        assert parts[1] > 1.5 * parts[0]
    else:
        assert parts[1] == pytest.approx(parts[0], rel=1e-4)
