"""The rotary embedding over two image axes."""

import jax.numpy as jnp
import numpy as np
import pytest

from da3jax.ops.rope import cross_view_rotation, in_view_rotation, rotate

ROWS, COLUMNS, WIDTH = 3, 4, 16


def tokens(seed=0, count=1 + ROWS * COLUMNS):
    return np.random.default_rng(seed).standard_normal((2, 3, count, 2, WIDTH), dtype=np.float32)


@pytest.mark.parametrize("make", [in_view_rotation, cross_view_rotation])
def test_lengths_stay_in_each_half(make):
    x = tokens()
    turned = np.asarray(rotate(x, make(ROWS, COLUMNS, WIDTH)))
    for half in (slice(0, WIDTH // 2), slice(WIDTH // 2, None)):
        np.testing.assert_allclose(np.linalg.norm(turned[..., half], axis=-1), np.linalg.norm(x[..., half], axis=-1), rtol=1e-6)
    assert np.abs(turned - x)[:, :, 1:].max() > 0.5


@pytest.mark.parametrize("make", [in_view_rotation, cross_view_rotation])
def test_the_special_token_is_not_rotated(make):
    x = tokens()
    np.testing.assert_array_equal(rotate(x, make(ROWS, COLUMNS, WIDTH))[:, :, 0], x[:, :, 0])


def test_a_hand_computed_value():
    # Head width 8: frequencies 1 and 100^(-1/2) = 0.1. The patch of row 1 and column 2 sits at (2, 3).
    x = np.arange(1.0, 9.0, dtype=np.float32) * np.ones((1, 1, 13, 1, 1), np.float32)
    out = np.asarray(rotate(x, in_view_rotation(3, 4, 8)))[0, 0, 1 + 1 * 4 + 2, 0]
    c, s = np.cos, np.sin
    expected = [
        *(1 * c(2.0) - 3 * s(2.0), 2 * c(0.2) - 4 * s(0.2), 3 * c(2.0) + 1 * s(2.0), 4 * c(0.2) + 2 * s(0.2)),
        *(5 * c(3.0) - 7 * s(3.0), 6 * c(0.3) - 8 * s(0.3), 7 * c(3.0) + 5 * s(3.0), 8 * c(0.3) + 6 * s(0.3)),
    ]
    np.testing.assert_allclose(out, expected, atol=1e-6)


def test_in_a_view_products_depend_on_the_offset_only():
    query, key = np.random.default_rng(3).standard_normal((2, 8), dtype=np.float32)
    rotation = in_view_rotation(ROWS, COLUMNS, 8)
    q, k = (np.asarray(rotate(np.broadcast_to(x, (1, 1, 13, 1, 8)), rotation))[0, 0, 1:, 0] for x in (query, key))
    products = (q @ k.T).reshape(ROWS, COLUMNS, ROWS, COLUMNS)
    by_offset = {}
    for i, j, m, n in np.ndindex(products.shape):
        by_offset.setdefault((i - m, j - n), []).append(products[i, j, m, n])
    assert len(by_offset) == (2 * ROWS - 1) * (2 * COLUMNS - 1)
    for values in by_offset.values():
        np.testing.assert_allclose(values, values[0], atol=1e-5)
    assert np.ptp([values[0] for values in by_offset.values()]) > 0.1


def test_across_views_all_patches_turn_alike():
    cos, sin = cross_view_rotation(ROWS, COLUMNS, WIDTH)
    there = in_view_rotation(ROWS, COLUMNS, WIDTH)
    for ours, theirs in zip((cos, sin), there, strict=True):
        np.testing.assert_array_equal(ours[:, :, 1:], np.broadcast_to(theirs[:, :, 1:2], ours[:, :, 1:].shape))


def test_the_result_has_the_operands_dtype():
    rotation = in_view_rotation(ROWS, COLUMNS, WIDTH)
    assert [table.dtype for table in rotation] == [np.float32, np.float32]
    turned = rotate(jnp.asarray(tokens(), jnp.bfloat16), rotation)
    assert turned.dtype == jnp.bfloat16
    np.testing.assert_allclose(turned.astype(jnp.float32), rotate(tokens(), rotation), atol=0.05)
