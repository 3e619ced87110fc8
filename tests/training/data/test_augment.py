"""Other light and colours: in range, by key, nearly the same for the views of a scene."""

import dataclasses
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax.inputs import preprocess
from da3jax.training.data import AugmentConfig, augment, normalize_images, to_unit_range
from tests.quick import quick_jit

NONE = AugmentConfig(brightness=0, contrast=0, saturation=0, hue=0, grey=0, blur=0)
ALL = AugmentConfig(brightness=0.5, contrast=0.5, saturation=0.5, hue=0.5, grey=0.3, blur=0.5)
LUMA = np.array([0.299, 0.587, 0.114])


@pytest.fixture(scope="module")
def images():
    return np.random.default_rng(0).integers(0, 256, (3, 2, 16, 20, 3), np.uint8)


@pytest.fixture(scope="module")
def grey_wedge():
    return np.broadcast_to(np.linspace(0.3, 0.6, 20, dtype=np.float32)[:, None], (8, 4, 16, 20, 3))


def apply(config, images, seed=0):
    return np.asarray(quick_jit(partial(augment, config=config))(jax.random.key(seed), images))


def test_without_options_images_stay_as_they_are(images):
    np.testing.assert_allclose(apply(NONE, images), images / np.float32(255), atol=1e-5)


def test_the_key_decides_and_all_stays_in_range(images):
    first, again, other = apply(ALL, images), apply(ALL, images), apply(ALL, images, seed=1)
    assert np.array_equal(first, again)
    assert np.abs(first - other).mean() > 0.01
    assert first.dtype == np.float32
    assert first.min() >= 0
    assert first.max() <= 1
    assert np.isfinite(first).all()


def test_8_bit_and_unit_range_images_give_the_same(images):
    np.testing.assert_allclose(apply(ALL, images), apply(ALL, images / np.float32(255)), atol=1e-6)


def test_brightness_multiplies_and_is_nearly_the_same_for_the_views_of_a_scene(grey_wedge):
    config = dataclasses.replace(NONE, brightness=0.4, per_view=0.1)
    ratio = apply(config, grey_wedge) / grey_wedge
    factor = ratio.mean(axis=(2, 3, 4))
    np.testing.assert_allclose(ratio, np.broadcast_to(factor[..., None, None, None], ratio.shape), rtol=1e-4)
    assert np.abs(factor - 1).max() <= 0.4
    assert np.ptp(factor, axis=1).min() > 0
    assert np.ptp(factor, axis=1).max() <= 2 * 0.1 * 0.4
    assert np.ptp(factor[:, 0]) > 0.2


def test_contrast_keeps_the_mean_of_the_scene(grey_wedge):
    changed = apply(dataclasses.replace(NONE, contrast=0.4, per_view=0), grey_wedge)
    np.testing.assert_allclose(changed.mean(axis=(1, 2, 3, 4)), 0.45, atol=1e-5)
    slope = np.ptp(changed[:, 0, 0, :, 0], axis=-1) / 0.3
    assert 0.6 <= slope.min() < 0.9
    assert 1.1 < slope.max() <= 1.4


@pytest.mark.parametrize("option", ["saturation", "hue"])
def test_colours_change_and_brightness_stays(option):
    pixels = np.broadcast_to(np.float32([0.5, 0.4, 0.45]), (8, 2, 3, 3, 3))
    changed = apply(dataclasses.replace(NONE, **{option: 0.5}), pixels)
    np.testing.assert_allclose(changed @ LUMA, pixels @ LUMA, atol=1e-3)
    assert np.abs(changed - pixels).max() > 0.02


def test_half_a_circle_of_hue_makes_the_opposite_colour():
    from da3jax.training.data.augment import _turn_hue

    turned = _turn_hue(jnp.array([0.6, 0.4, 0.5]), jnp.array([jnp.pi]))
    luma = np.array([0.6, 0.4, 0.5]) @ LUMA
    np.testing.assert_allclose(turned, 2 * luma - np.array([0.6, 0.4, 0.5]), atol=1e-3)


def test_grey_scenes_have_no_colours(images):
    grey = apply(dataclasses.replace(NONE, grey=1), images)
    np.testing.assert_allclose(grey, np.repeat((images / 255 @ LUMA)[..., None], 3, axis=-1), atol=1e-5)


def test_blur_is_a_gaussian_that_keeps_the_sum():
    dot = np.zeros((1, 6, 31, 31, 3), np.float32)
    dot[:, :, 15, 15] = 1
    blurred = apply(dataclasses.replace(NONE, blur=1, blur_sigma=2), dot)
    np.testing.assert_allclose(blurred.sum(axis=(2, 3)), 1, atol=1e-5)
    offset = np.arange(31) - 15
    sigma = np.sqrt((blurred[0, :, :, :, 0].sum(axis=1) * offset**2).sum(axis=-1))
    assert 0 <= sigma.min() < sigma.max() <= 2
    for view, deviation in zip(blurred[0, :, :, :, 0], sigma, strict=True):
        if deviation > 0.8:  # below that, samples of a Gaussian have another deviation than it
            kernel = np.exp(-0.5 * (offset / deviation) ** 2)
            np.testing.assert_allclose(view, np.outer(kernel, kernel) / kernel.sum() ** 2, atol=3e-3)


def test_normalised_images_are_what_preprocess_makes(images):
    views = preprocess(images[0, 0].repeat(14, axis=0).repeat(14, axis=1), process_res=280)
    np.testing.assert_allclose(normalize_images(views.processed_images), views.images[0], atol=0.02)  # processed_images are truncated
    levels = np.broadcast_to(np.uint8([0, 128, 255])[:, None], (3, 3))
    expected = (np.array([0, 128, 255])[:, None] / 255 - [0.485, 0.456, 0.406]) / [0.229, 0.224, 0.225]
    np.testing.assert_allclose(normalize_images(levels), expected, atol=1e-6)
    np.testing.assert_allclose(normalize_images(to_unit_range(levels)), expected, atol=1e-6)
