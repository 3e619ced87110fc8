"""Depth of sky pixels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax.models import fill_sky

filled = jax.jit(fill_sky)


def scene(height, width, views=2, sky_share=0.3, seed=0):
    rng = np.random.default_rng(seed)
    depth = np.exp(rng.standard_normal((1, views, height, width))).astype(np.float32)
    return depth, np.where(rng.random(depth.shape) < sky_share, 0.3, 0.2999).astype(np.float32)


@pytest.mark.parametrize(("height", "width"), [(4, 7), (14, 28), (101, 5), (56, 70)])
def test_sky_gets_the_99_percent_quantile_of_the_rest(height, width):
    depth, sky = scene(height, width)
    is_sky = sky >= np.float32(0.3)
    expected = np.where(is_sky, np.quantile(depth[~is_sky].astype(np.float64), 0.99), depth)
    np.testing.assert_allclose(filled(depth, sky), expected, rtol=1e-6)
    np.testing.assert_array_equal(filled(depth, sky)[~is_sky], depth[~is_sky])


@pytest.mark.integration
def test_more_pixels_than_float32_counts_to_exactly():
    """99 · K no longer fits 32 bits, and float32 no longer holds every rank."""
    count = 22_000_001
    depth = np.arange(count, dtype=np.int64).astype(np.float32).reshape(1, 1, 1, -1)
    sky = np.zeros_like(depth)
    sky[..., :11] = 1
    expected = 11 + 0.99 * (count - 12)
    assert filled(depth, sky)[0, 0, 0, 0] == pytest.approx(expected, abs=1.5)


@pytest.mark.parametrize(("sky_pixels", "changes"), [(0, False), (10, False), (11, True), (17, True), (18, False), (28, False)])
def test_too_little_sky_and_too_little_else_change_nothing(sky_pixels, changes):
    depth = np.linspace(1, 2, 28, dtype=np.float32).reshape(1, 1, 4, 7)
    sky = (np.arange(28) < sky_pixels).astype(np.float32).reshape(depth.shape)
    out = np.asarray(filled(depth, sky))
    assert np.isfinite(out).all()
    assert (not np.array_equal(out, depth)) == changes


def test_scenes_do_not_see_each_other_and_views_do():
    (near, sky), (other, other_sky) = scene(14, 28), scene(14, 28, seed=1)
    far = 100 * other
    together = np.asarray(filled(np.concatenate([near, far]), np.concatenate([sky, other_sky])))
    np.testing.assert_array_equal(together[:1], filled(near, sky))
    np.testing.assert_array_equal(together[1:], filled(far, other_sky))
    values = together[0][sky[0] >= 0.3]
    assert len(values) > 100
    assert len(np.unique(values)) == 1  # one value for both views


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_gradients_are_finite(share):
    depth, sky = scene(4, 7, sky_share=share)
    gradient = np.asarray(jax.jit(jax.grad(lambda depth: jnp.sum(fill_sky(depth, sky))))(depth))
    assert np.isfinite(gradient).all()
    assert gradient.sum() == pytest.approx(depth.size, rel=1e-6)


def test_masked_views_have_no_say_in_how_far_sky_is():
    depth, sky = scene(14, 28, views=3)
    loud = np.concatenate([depth, np.full_like(depth[:, :2], 1e3)], axis=1)
    mask = np.array([[True, True, True, False, False]])
    for padding in (0.0, 1.0):  # of what else would be ground, or sky
        more = np.concatenate([sky, np.full_like(sky[:, :2], padding)], axis=1)
        np.testing.assert_array_equal(filled(loud, more, mask)[:, :3], filled(depth, sky))
    few = (np.arange(28) < 10).astype(np.float32).reshape(1, 1, 4, 7)  # too little sky, but for the masked view
    flat = np.linspace(1, 2, 28, dtype=np.float32).reshape(1, 1, 4, 7)
    found = filled(np.concatenate([flat, flat], axis=1), np.concatenate([few, few], axis=1), np.array([[True, False]]))
    np.testing.assert_array_equal(found[:, :1], flat)
