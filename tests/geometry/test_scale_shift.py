"""Scale and shift of relative depth against noisy, sparse or degenerate metric depth."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax import geometry
from da3jax.geometry import ScaleShiftResult

align = jax.jit(geometry.align_scale_shift, static_argnames=("tries", "samples"))

HEIGHT, WIDTH = 60, 80
KEY = jax.random.key(0)
EVERYWHERE = np.ones((HEIGHT, WIDTH), bool)


def room(seed=0):
    """Depth of a floor with boxes, 1.2 to 5 m, float32."""
    rng = np.random.default_rng(seed)
    depth = np.repeat(np.linspace(5, 1.2, HEIGHT)[:, None], WIDTH, axis=1)
    for _ in range(6):
        row, column = rng.integers(0, 50, 2)
        depth[row : row + 15, column : column + 20] = rng.uniform(1.2, 4)
    return np.float32(depth)


def spoil(reference, kind, seed=0, share=0.4):
    """Which pixels of the reference were replaced, and the reference."""
    rng = np.random.default_rng(seed)
    hit = rng.random(reference.shape) < share
    wrong = {
        "anything": rng.uniform(reference.min(), reference.max(), reference.shape),
        "far": rng.uniform(1, 3, reference.shape) * reference.max(),
        "added": reference + rng.normal(0, np.ptp(reference), reference.shape),
        "another plane": reference + 1.5,
    }[kind]
    return hit, np.float32(np.where(hit, wrong, reference))


@pytest.mark.parametrize("noise", [0, 0.01])
@pytest.mark.parametrize("kind", ["anything", "far", "added", "another plane"])
def test_scale_and_shift_are_found_among_40_percent_outliers(kind, noise):
    true = room()
    hit, reference = spoil(true + np.float32(noise * np.random.default_rng(5).standard_normal(true.shape)), kind)
    found = align((true + 0.7) / 2.5, reference, EVERYWHERE, KEY)
    assert found.result == ScaleShiftResult.SUCCESS
    tolerance = 2e-3 if noise else 1e-4
    assert float(found.scale) == pytest.approx(2.5, rel=tolerance)
    assert float(found.shift) == pytest.approx(-0.7, abs=3 * tolerance)
    assert float(found.inlier_share) == pytest.approx(1 - hit.mean(), abs=0.03)
    assert float(found.residual) == pytest.approx(noise, rel=0.15, abs=1e-4)
    np.testing.assert_allclose(found.apply((true + 0.7) / 2.5), true, atol=0.02)


def test_normal_noise_alone_loses_few_pixels_and_gives_least_squares_precision():
    true, noise = room(), np.float32(0.1 * np.random.default_rng(5).standard_normal((HEIGHT, WIDTH)))
    found = align(true, 3 * true + 1 + noise, EVERYWHERE, KEY)
    assert float(found.scale) == pytest.approx(3, abs=0.01)
    assert float(found.inlier_share) > 0.5


def test_two_hundred_points_are_enough():
    true = room()
    mask = np.random.default_rng(1).random(true.shape) < 200 / true.size
    _, reference = spoil(true, "anything")
    found = align(true / 2 - 1, np.where(mask, reference, np.nan), mask, KEY)
    assert float(found.scale) == pytest.approx(2, rel=1e-4)
    assert float(found.shift) == pytest.approx(2, rel=1e-4)


def test_pixels_outside_the_mask_and_not_finite_ones_do_not_count():
    true = room()
    mask = EVERYWHERE.copy()
    mask[:20] = False
    reference, prediction = 2 * true + 1, true.copy()
    reference[:20], reference[30, :] = 77, np.inf
    prediction[40] = np.nan
    found = align(prediction, reference, mask, KEY)
    assert float(found.scale) == pytest.approx(2, rel=1e-5)
    assert found.inlier_share == 1


def test_pixels_outside_the_mask_do_not_pull_a_small_shift_to_nothing():
    true, rng = room(), np.random.default_rng(5)
    noisy = 2 * true + 0.25 + np.float32(0.5 * rng.standard_normal(true.shape))
    found = align(true, noisy, rng.random(true.shape) < 0.5, KEY)
    assert float(found.shift) == pytest.approx(0.25, abs=0.12)


def test_where_the_reference_falls_over_most_of_the_map_the_scale_is_that_of_the_rest():
    true = room()
    rises = np.random.default_rng(2).random(true.shape) < 0.4
    found = align(true, np.float32(np.where(rises, 2 * true + 1, 20 - 3 * true)), EVERYWHERE, KEY)
    assert found.result == ScaleShiftResult.SUCCESS
    np.testing.assert_allclose([found.scale, found.shift], [2, 1], rtol=0.03)


@jax.jit
@functools.partial(jax.grad, argnums=(0, 1))
def slopes(prediction, reference, mask):
    found = geometry.align_scale_shift(prediction, reference, mask, KEY)
    return found.scale + found.shift + found.residual


MASK_OF_ONE = np.zeros_like(EVERYWHERE)
MASK_OF_ONE[3, 4] = True
UPPER = np.arange(HEIGHT)[:, None] < np.full(WIDTH, HEIGHT // 2)


@pytest.mark.parametrize(
    ("prediction", "reference", "mask", "result"),
    [
        (room(), room(), ~EVERYWHERE, ScaleShiftResult.TOO_FEW),
        (room(), room(), MASK_OF_ONE, ScaleShiftResult.TOO_FEW),
        (np.full_like(room(), 3.3), room(), EVERYWHERE, ScaleShiftResult.CONSTANT),
        (np.where(UPPER, np.float32(3.3), room()), room(), UPPER, ScaleShiftResult.CONSTANT),
        (room(), -room(), EVERYWHERE, ScaleShiftResult.NOT_POSITIVE),
        (room(), np.full_like(room(), 3.3), EVERYWHERE, ScaleShiftResult.NOT_POSITIVE),
    ],
    ids=["nothing", "one pixel", "constant prediction", "constant where known", "upside down", "constant reference"],
)
def test_what_cannot_be_fitted_is_left_alone_and_said(prediction, reference, mask, result):
    found = align(prediction, reference, mask, KEY)
    assert found.result == result
    assert (found.scale, found.shift, found.inlier_share) == (1, 0, 0)
    error = (prediction - reference)[mask]
    assert float(found.residual) == pytest.approx(np.sqrt(np.mean(error**2)) if error.size else 0, rel=1e-5)
    assert all(np.isfinite(slope).all() for slope in slopes(prediction, reference, mask))


def test_batches_are_maps_of_their_own():
    scenes = [(room(i) / (2 + i), spoil(room(i), "far", i)[1]) for i in range(4)]
    prediction, reference = (np.stack(x).reshape(2, 2, HEIGHT, WIDTH) for x in zip(*scenes, strict=True))
    together = align(prediction, reference, np.stack([EVERYWHERE] * 4).reshape(prediction.shape), KEY)
    np.testing.assert_allclose(together.scale, [[2, 3], [4, 5]], rtol=1e-4)
    alone = align(*scenes[3], EVERYWHERE, KEY)
    np.testing.assert_allclose(alone.scale, together.scale[1, 1], rtol=1e-6)
    np.testing.assert_allclose(together.apply(prediction)[1, 1], alone.apply(prediction[1, 1]), rtol=1e-5)


def test_the_same_key_gives_the_same_answer():
    _, reference = spoil(room(), "far")
    first, second = (align(room(), reference, EVERYWHERE, jax.random.key(3)) for _ in range(2))
    assert jax.tree.map(float, first) == jax.tree.map(float, second)


def test_steps_of_a_depth_camera_are_depth():
    steps = np.rint(1000 * room()).astype(np.uint16)
    found = align(steps, steps.astype(np.float32) / 1000, EVERYWHERE, KEY)
    np.testing.assert_allclose([found.scale, found.shift], [0.001, 0], atol=1e-5)


@pytest.mark.integration
def test_derivatives_are_those_of_least_squares_over_the_inliers(assert_derivatives):
    true = room()[::10, ::10].astype(np.float64)
    _, reference = spoil(true + 0.01 * np.random.default_rng(5).standard_normal(true.shape), "far", share=0.2)

    def both(prediction, reference):
        found = geometry.align_scale_shift(prediction, reference, jnp.ones(true.shape, bool), KEY, tries=16, samples=64)
        return jnp.stack([found.scale, found.shift])

    assert_derivatives(both, (true / 2)[None], np.float64(reference)[None])


@pytest.mark.parametrize("which", ["reference", "mask"])
def test_maps_of_other_shapes_are_refused(which):
    maps = {"prediction": room(), "reference": room(), "mask": EVERYWHERE}
    maps[which] = maps[which].T
    with pytest.raises(ValueError, match=r"prediction, reference and mask have the shapes \(60, 80\), .*\(80, 60\).*; it is one"):
        geometry.align_scale_shift(**maps, key=KEY)
