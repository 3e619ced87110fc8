"""What is around cuDNN's attention; cuDNN itself needs its GPU."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax.ops.attention import attention
from da3jax.ops.cudnn import cudnn_attention, has_cudnn_attention
from da3jax.ops.target import made_for


@pytest.mark.parametrize("masked", [False, True])
def test_keys_that_count_are_brought_to_the_front(masked):
    rng = np.random.default_rng(0)
    q, k, v = (rng.standard_normal((2, tokens, 3, 8), dtype=np.float32) for tokens in (5, 9, 9))
    mask = np.array([[True, False, True, True, False, False, True, True, False], [False] * 8 + [True]]) if masked else None
    mask = None if mask is None else jax.numpy.asarray(mask)
    found = cudnn_attention(q, k, v, mask, implementation="xla")
    np.testing.assert_allclose(found, attention(q, k, v, mask), rtol=1e-5, atol=1e-6)


def test_it_is_for_nvidia_gpus_from_ampere_on():
    assert not has_cudnn_attention()
    for capability, expected in (("7.5", False), ("8.0", True), ("9.0", True), ("10.3", True), ("gfx942", False), (None, False)):
        fields = {"platform": "gpu"} | ({} if capability is None else {"compute_capability": capability})
        with made_for(type("Device", (), fields)()):
            assert has_cudnn_attention() is expected


@pytest.mark.parametrize(("queries", "keys"), [(5, 7), (4, 7), (5, 6)])
def test_odd_numbers_of_tokens_have_gradients(queries, keys):
    rng = np.random.default_rng(0)
    q, k, v = (jnp.asarray(rng.normal(size=(2, n, 2, 8)), jnp.float32) for n in (queries, keys, keys))
    mask = jnp.asarray([[True] * keys, [False, True, True, False, True, True, True][:keys]])

    def gradient(attend, mask):
        return jax.grad(lambda *args: jnp.sum(attend(*args, mask) ** 2), (0, 1, 2))(q, k, v)

    for some in (None, mask):
        expected = gradient(attention, some)
        found = gradient(functools.partial(cudnn_attention, implementation="xla"), some)
        jax.tree.map(lambda x, y: np.testing.assert_allclose(x, y, rtol=1e-4, atol=1e-5), found, expected)
