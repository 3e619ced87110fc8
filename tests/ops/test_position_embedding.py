"""Position embeddings against formulas written a second time."""

import numpy as np
import pytest

from da3jax.ops.position_embedding import _bicubic, add_uv_embedding, resize_position_embedding

SIZES = [(37, 36), (37, 20), (37, 1), (5, 2), (5, 9), (5, 5), (37, 55)]


def cubic(x, a=-0.75):
    """Keys' cubic convolution kernel."""
    x = abs(x)
    if x <= 1:
        return (a + 2) * x**3 - (a + 3) * x**2 + 1
    return a * (x**3 - 5 * x**2 + 8 * x - 4) if x < 2 else 0.0


def bicubic_rows(values, target, scale):
    """PyTorch's upsample_bicubic2d along the first axis, sample by sample: the source of t is (t + ½)/scale − ½, clamped taps."""
    out = np.zeros((target, *values.shape[1:]))
    for t in range(target):
        place = (t + 0.5) / scale - 0.5
        for tap in range(int(np.floor(place)) - 1, int(np.floor(place)) + 3):
            out[t] += cubic(place - tap) * values[min(max(tap, 0), len(values) - 1)]
    return out


def embedding(side, channels=3, seed=0):
    return np.random.default_rng(seed).standard_normal((1, 1 + side * side, channels)).astype(np.float32)


def test_the_stored_grid_is_left_as_it_is():
    stored = embedding(5)
    np.testing.assert_array_equal(resize_position_embedding(stored, 5, 5), stored)


@pytest.mark.parametrize(("source", "target"), SIZES)
def test_rows_of_the_bicubic_matrix_sum_to_one(source, target):
    np.testing.assert_allclose(_bicubic(source, target).sum(axis=1), 1, atol=1e-6)


@pytest.mark.parametrize(("side", "rows", "columns"), [(5, 2, 3), (5, 5, 4), (5, 9, 1), (37, 20, 36)])
def test_it_samples_bicubically_by_the_scale(side, rows, columns):
    stored = embedding(side)
    grid = stored[0, 1:].astype(np.float64).reshape(side, side, -1)
    expected = bicubic_rows(grid, rows, (rows + 0.1) / side)
    expected = bicubic_rows(expected.swapaxes(0, 1), columns, (columns + 0.1) / side).swapaxes(0, 1)
    ours = np.asarray(resize_position_embedding(stored, rows, columns))
    np.testing.assert_array_equal(ours[:, 0], stored[:, 0])
    np.testing.assert_allclose(ours[0, 1:].reshape(rows, columns, -1), expected, atol=5e-6)


def test_a_hand_computed_sample():
    # One of a 2-grid: the step is 2 / 1.1, the only sample sits at 0.5 · 2/1.1 − 0.5 = 9/22 between rows 0 and 1.
    right = cubic(1 - 9 / 22) + cubic(2 - 9 / 22)
    assert right == pytest.approx(0.3981, abs=1e-4)
    stored = np.float32([[[7], [0], [0], [1], [1]]])
    np.testing.assert_allclose(np.ravel(resize_position_embedding(stored, 1, 1)), [7, right], atol=1e-6)


@pytest.mark.parity
@pytest.mark.parametrize(("side", "rows", "columns"), [(37, 20, 36), (37, 36, 1), (5, 9, 7), (37, 55, 37)])
def test_it_equals_torch(side, rows, columns):
    import torch

    stored = embedding(side)
    grid = torch.from_numpy(stored[:, 1:]).reshape(1, side, side, -1).permute(0, 3, 1, 2)
    scale = ((rows + 0.1) / side, (columns + 0.1) / side)
    expected = torch.nn.functional.interpolate(grid, scale_factor=scale, mode="bicubic").permute(0, 2, 3, 1)
    ours = np.asarray(resize_position_embedding(stored, rows, columns))[:, 1:].reshape(expected.shape)
    np.testing.assert_allclose(ours, expected.numpy(), atol=2e-5)


@pytest.mark.parametrize(("height", "width", "channels", "aspect"), [(2, 3, 8, 1.5), (4, 4, 12, 0.6), (1, 5, 4, 2.0)])
def test_the_image_coordinates_become_sines_and_cosines(height, width, channels, aspect):
    quarter = channels // 4
    expected = np.zeros((height, width, channels))
    for i, j, k in np.ndindex(height, width, quarter):
        u = aspect / np.sqrt(aspect**2 + 1) * (2 * j + 1 - width) / width
        v = 1 / np.sqrt(aspect**2 + 1) * (2 * i + 1 - height) / height
        omega = 100 ** (-k / quarter)
        values = np.sin(u * omega), np.cos(u * omega), np.sin(v * omega), np.cos(v * omega)
        for part, value in enumerate(values):
            expected[i, j, part * quarter + k] = 0.1 * value
    np.testing.assert_allclose(add_uv_embedding(np.zeros((height, width, channels), np.float32), aspect), expected, atol=1e-7)
    x = np.random.default_rng(0).standard_normal((2, 3, height, width, channels), dtype=np.float32)
    np.testing.assert_allclose(add_uv_embedding(x, aspect), x + expected, atol=1e-6)
