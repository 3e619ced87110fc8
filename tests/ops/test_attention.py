"""Blockwise attention is softmax attention."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax.ops import attention as dispatch
from da3jax.ops import blockwise
from da3jax.ops.attention import QUERY_BLOCK, attention


def operands(queries, keys, heads=2, width=8, batch=2, seed=0):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((batch, tokens, heads, width), dtype=np.float32) for tokens in (queries, keys, keys)]


def plain(q, k, v, mask=None):
    """In float64, one query at a time."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    out = np.zeros(q.shape)
    for b, n, h in np.ndindex(q.shape[:3]):
        keep = slice(None) if mask is None else np.broadcast_to(mask, (len(q), k.shape[1]))[b]
        scores = k[b, keep, h] @ q[b, n, h] / np.sqrt(q.shape[-1])
        weights = np.exp(scores - scores.max())
        out[b, n, h] = weights @ v[b, keep, h] / weights.sum()
    return out


@pytest.mark.parametrize(
    ("queries", "keys", "heads", "width"),
    [(1, 1, 1, 2), (7, 5, 3, 4), (3, 40, 2, 24), (513, 9, 1, 4), (1025, 31, 2, 8), (QUERY_BLOCK, 3, 1, 64), (20, 20, 2, 64)],
)
def test_it_equals_plain_softmax_attention(queries, keys, heads, width):
    q, k, v = operands(queries, keys, heads, width)
    out = attention(q, k, v)
    assert out.dtype == jnp.float32
    np.testing.assert_allclose(out, plain(q, k, v), atol=2e-6)


@pytest.mark.parametrize("rows", [1, 2], ids=["one mask for all", "a mask for each"])
def test_masked_keys_do_not_count(rows):
    q, k, v = operands(6, 11)
    mask = np.random.default_rng(1).random((rows, 11)) < 0.5
    masked = attention(q, k, v, mask)
    np.testing.assert_allclose(masked, plain(q, k, v, mask), atol=2e-6)
    hidden = ~np.broadcast_to(mask, (2, 11))[..., None, None]
    np.testing.assert_array_equal(attention(q, np.where(hidden, 1e3, k), np.where(hidden, -1e3, v), mask), masked)


def test_large_scores_do_not_overflow():
    q, k, v = operands(5, 6)
    np.testing.assert_allclose(attention(100 * q, 100 * k, v), plain(100 * q, 100 * k, v), atol=1e-5)


def test_bfloat16_operands_give_a_float32_result_near_the_exact_one():
    q, k, v = (jnp.asarray(x, jnp.bfloat16) for x in operands(30, 40, width=16))
    out = attention(q, k, v)
    assert out.dtype == jnp.float32
    # The operands are the same numbers; the weights alone are rounded to bfloat16's eight bits.
    np.testing.assert_allclose(out, plain(q, k, v), atol=2**-8 * np.abs(np.float32(v)).max())
    assert not np.array_equal(out, out.astype(jnp.bfloat16).astype(jnp.float32))


def einsum_form(q, k, v, mask):
    scores = jnp.einsum("bnhd,bmhd->bhnm", q, k) / np.sqrt(q.shape[-1])
    return jnp.einsum("bhnm,bmhd->bnhd", jax.nn.softmax(jnp.where(mask[:, None, None], scores, -jnp.inf)), v)


def test_gradients_equal_those_of_the_plain_form():
    q, k, v = operands(515, 7, width=4)
    mask = np.array([[True] * 7, [True, False] * 3 + [True]])
    weights = np.random.default_rng(2).standard_normal(q.shape, dtype=np.float32)
    ours, plainly = (
        jax.jit(jax.grad(lambda q, k, v, f=f: jnp.sum(weights * f(q, k, v, mask)), argnums=(0, 1, 2)))(q, k, v)
        for f in (attention, einsum_form)
    )
    for a, b in zip(ours, plainly, strict=True):
        np.testing.assert_allclose(a, b, atol=2e-5)


def test_vmap_and_jit_change_nothing():
    scenes = [operands(9, 5, seed=seed) for seed in range(3)]
    stacked = [np.stack(x) for x in zip(*scenes, strict=True)]
    for mapped in (jax.vmap(attention), jax.jit(jax.vmap(attention))):
        out = mapped(*stacked)
        for scene, (q, k, v) in enumerate(scenes):
            np.testing.assert_allclose(out[scene], plain(q, k, v), atol=2e-6)


def test_the_form_for_accelerators_is_the_same():
    from da3jax.ops.attention import _all_heads

    q, k, v = operands(600, 13)
    mask = np.array([[True] * 13, [True] * 6 + [False] * 7])
    np.testing.assert_allclose(_all_heads(q, k, v, jnp.asarray(mask))[0], plain(q, k, v, mask), atol=2e-6)


@pytest.mark.parametrize("form", ["head by head", "all heads", "blockwise"])
def test_what_is_seen_of_two_sets_of_keys_comes_to_what_is_seen_of_both(form):
    forms = {"head by head": dispatch._head_by_head, "all heads": dispatch._all_heads, "blockwise": blockwise.blockwise_attention}
    q, k, v = operands(7, 12)
    mask = np.array([[False] * 5 + [True] * 7, [True, False] * 6])  # of the first scene no key of the first set counts
    (a, log_a), (b, log_b) = (forms[form](q, k[:, some], v[:, some], jnp.asarray(mask[:, some])) for some in np.s_[:5, 5:])
    share = np.asarray(jax.nn.sigmoid(log_a - log_b))[..., None]
    assert np.isfinite(a).all()
    np.testing.assert_array_equal(share[0], 0)
    np.testing.assert_allclose(share * a + (1 - share) * b, plain(q, k, v, mask), atol=2e-6)


def test_cudnn_has_bfloat16_on_its_gpus_and_nothing_else(monkeypatch):
    def lowered(dtype, platform, tokens=dispatch.CUDNN_KEYS):
        shapes = [jax.ShapeDtypeStruct((1, tokens, 2, 8), dtype)] * 3
        return jax.jit(lambda *x: dispatch.attention(*x)).trace(*shapes).lower(lowering_platforms=(platform,)).as_text()

    monkeypatch.setattr(dispatch, "has_cudnn_attention", lambda: True)
    monkeypatch.setattr(dispatch, "cudnn_attention", lambda q, k, v, mask: jnp.cbrt(q.astype(jnp.float32)))  # a root to know it by
    calls = {
        (dtype, platform): "cbrt" in lowered(dtype, platform) for dtype in ("bfloat16", "float32") for platform in ("cuda", "cpu", "tpu")
    }
    assert [case for case, there in calls.items() if there] == [("bfloat16", "cuda")]
    assert "cbrt" not in lowered("bfloat16", "cuda", dispatch.CUDNN_KEYS - 1)


@pytest.mark.parametrize("form", [dispatch._head_by_head, dispatch._all_heads, blockwise.blockwise_attention])
def test_the_gradients_memory_grows_with_the_tokens_and_not_with_their_square(form):
    def held(tokens):
        shapes = [jax.ShapeDtypeStruct((1, tokens, 2, 8), jnp.float32)] * 3
        gradient = jax.jit(jax.grad(lambda q, k, v: form(q, k, v, None)[0].sum(), argnums=(0, 1, 2)))
        return gradient.lower(*shapes).compile().memory_analysis().temp_size_in_bytes

    assert held(16384) < 2.5 * held(8192)


def test_scores_of_all_queries_are_never_held_at_once():
    tokens = 4 * QUERY_BLOCK
    shapes = [jax.ShapeDtypeStruct((1, tokens, 2, 8), jnp.float32)] * 3
    for platform, block in {"cpu": f"{QUERY_BLOCK}x{tokens}xf32", "tpu": f"{blockwise.QUERY_BLOCK}x{blockwise.KEY_BLOCK}xf32"}.items():
        text = jax.jit(attention).trace(*shapes).lower(lowering_platforms=(platform,)).as_text()
        assert block in text
        assert f"{tokens}x{tokens}xf32" not in text
