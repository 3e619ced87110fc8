"""Attention by blocks of queries and keys, against the softmax written out."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax.ops import blockwise
from da3jax.ops.attention import attention
from da3jax.ops.blockwise import blockwise_attention


def plain(q, k, v, mask=None):
    scores = np.einsum("bnhd,bmhd->bhnm", q, k).astype(np.float64) / np.sqrt(q.shape[-1])
    if mask is not None:
        scores = np.where(mask[:, None, None], scores, -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.einsum("bhnm,bmhd->bnhd", weights / weights.sum(axis=-1, keepdims=True), v)


def operands(queries: int, keys: int):
    rng = np.random.default_rng(queries + keys)
    sizes = (queries, keys, keys)
    return [rng.standard_normal((2, size, 3, 16), dtype=np.float32) * scale for size, scale in zip(sizes, (3, 3, 1), strict=True)]


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr(blockwise, "QUERY_BLOCK", 8)
    monkeypatch.setattr(blockwise, "KEY_BLOCK", 16)


@pytest.mark.parametrize(("queries", "keys"), [(8, 16), (5, 7), (19, 48), (19, 41), (1, 17)])
def test_blocks_of_any_number_come_to_the_softmax(queries, keys):
    q, k, v = operands(queries, keys)
    np.testing.assert_allclose(blockwise_attention(q, k, v)[0], plain(q, k, v), rtol=1e-5, atol=1e-5)


def test_float64_as_the_default_changes_nothing():
    q, k, v = operands(19, 41)
    with jax.enable_x64(True):
        np.testing.assert_allclose(attention(q, k, v), plain(q, k, v), rtol=1e-5, atol=1e-5)


def test_heads_that_lie_side_by_side_are_parted():
    q, k, v = operands(19, 41)
    mask = np.arange(41) % np.array([[3], [5]]) > 0
    flat = (x.reshape(2, 41, -1) for x in (k, v))
    np.testing.assert_allclose(attention(q, *flat, mask), plain(q, k, v, mask), rtol=1e-5, atol=1e-5)


def test_keys_that_do_not_count_are_left_out_be_they_whole_blocks():
    q, k, v = operands(19, 41)
    mask = np.ones((2, 41), bool)
    mask[0, :20] = False
    mask[1, 16:] = False
    np.testing.assert_allclose(blockwise_attention(q, k, v, mask)[0], plain(q, k, v, mask), rtol=1e-5, atol=1e-5)


def test_large_scores_do_not_overflow():
    q, k, v = operands(9, 33)
    found = blockwise_attention(100 * q, 10 * k, v)[0]
    np.testing.assert_allclose(found, plain(100 * q, 10 * k, v), rtol=1e-4, atol=1e-4)


def test_bfloat16_operands_are_summed_in_float32():
    q, k, v = (jnp.asarray(x, jnp.bfloat16) for x in operands(19, 400))
    found = blockwise_attention(q, k, v)[0]
    assert found.dtype == jnp.float32
    exact = plain(*(np.asarray(x, np.float32) for x in (q, k, v)))
    np.testing.assert_allclose(found, exact, atol=0.01)


def test_gradients_are_those_of_the_softmax():
    q, k, v = operands(9, 20)

    def dense(q, k, v):
        weights = jax.nn.softmax(jnp.einsum("bnhd,bmhd->bhnm", q, k) / 4, axis=-1)
        return jnp.sum(jnp.einsum("bhnm,bmhd->bnhd", weights, v) ** 2)

    found = jax.grad(lambda *x: jnp.sum(blockwise_attention(*x)[0] ** 2), argnums=(0, 1, 2))(q, k, v)
    for mine, theirs in zip(found, jax.grad(dense, argnums=(0, 1, 2))(q, k, v), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-3)
