"""Bilinear resampling with aligned corners."""

import jax
import numpy as np
import pytest

from da3jax.ops.resize import resize_align_corners

SIZES = [((2, 3), (5, 7)), ((7, 5), (3, 4)), ((1, 4), (3, 4)), ((4, 1), (1, 6)), ((3, 3), (1, 1)), ((6, 6), (6, 6)), ((16, 22), (28, 42))]


def image(size, channels=2):
    return np.random.default_rng(0).standard_normal((2, *size, channels), dtype=np.float32)


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_it_interpolates_along_rows_and_columns(source, target):
    x = image(source)
    places = [np.linspace(0, old - 1, new) if new > 1 else np.zeros(1) for old, new in zip(source, target, strict=True)]
    expected = x.astype(np.float64)
    for axis, (place, old) in enumerate(zip(places, source, strict=True), 1):
        expected = np.apply_along_axis(lambda line, place=place, old=old: np.interp(place, np.arange(old), line), axis, expected)
    np.testing.assert_allclose(resize_align_corners(x, *target), expected, atol=2e-6)


def test_corners_stay_and_the_middle_is_the_mean():
    x = np.float32([[0, 4], [8, 20]])[..., None]
    np.testing.assert_array_equal(resize_align_corners(x, 3, 3)[..., 0], [[0, 2, 4], [4, 8, 12], [8, 14, 20]])


def test_gradients_share_a_pixel_out_by_its_weights():
    grad = jax.grad(lambda x: resize_align_corners(x, 3, 3)[1, 2, 0])(np.zeros((2, 2, 1), np.float32))
    np.testing.assert_array_equal(grad[..., 0], [[0, 0.5], [0, 0.5]])


@pytest.mark.parity
@pytest.mark.parametrize(("source", "target"), SIZES)
def test_it_equals_torch(source, target):
    import torch

    x = image(source)
    expected = torch.nn.functional.interpolate(torch.from_numpy(x).permute(0, 3, 1, 2), target, mode="bilinear", align_corners=True)
    np.testing.assert_allclose(
        resize_align_corners(x, *target), expected.permute(0, 2, 3, 1).numpy(), atol=1e-5
    )  # it takes places in float32
