import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from da3jax.ops import conv
from da3jax.ops.conv import conv3x3


def of_jax(x, kernel):
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


@pytest.mark.parametrize("shape", [(2, 5, 7, 3), (1, 1, 1, 2), (3, 2, 1, 4)])
def test_values_and_gradients_are_those_of_jax(shape):
    keys = jax.random.split(jax.random.key(0), 3)
    x, kernel = jax.random.normal(keys[0], shape), jax.random.normal(keys[1], (3, 3, shape[-1], 5))
    weight = jax.random.normal(keys[2], (*shape[:3], 5))
    for mapped in (lambda f: f, jax.jit):
        found, expected = (
            jax.value_and_grad(mapped(lambda x, kernel, conv=conv: jnp.sum(weight * conv(x, kernel) ** 2)), (0, 1))(x, kernel)
            for conv in (conv3x3, of_jax)
        )
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), found, expected)


@pytest.mark.parametrize("rows", [0, 1, 2, 4, 9, 10, 15, 40])
def test_gradients_of_blocks_of_rows_or_images_are_those_of_all_at_once(rows, monkeypatch):
    monkeypatch.setattr(conv, "BLOCK", rows * 7 * (9 * 3 + 5))
    x, kernel = jax.random.normal(jax.random.key(0), (3, 5, 7, 3)), jax.random.normal(jax.random.key(1), (3, 3, 3, 5))
    found, expected = (jax.grad(lambda x, kernel, f=f: jnp.sum(jnp.sin(f(x, kernel))), (0, 1))(x, kernel) for f in (conv3x3, of_jax))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), found, expected)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_a_kernels_gradient_of_half_precision_is_rounded_once(dtype):
    x, kernel = (jax.random.normal(jax.random.key(k), shape).astype(dtype) for k, shape in ((0, (8, 64, 64, 2)), (1, (3, 3, 2, 1))))
    found = jax.grad(lambda kernel: jnp.sum(conv3x3(x, kernel).astype(jnp.float32)))(kernel)
    expected = jax.grad(lambda kernel: jnp.sum(of_jax(x.astype(jnp.float32), kernel)))(kernel.astype(jnp.float32))
    assert found.dtype == dtype
    np.testing.assert_allclose(found.astype(np.float32), expected, rtol=float(jnp.finfo(dtype).eps), atol=0.02)


def test_gradients_can_be_mapped():
    x, kernel = jax.random.normal(jax.random.key(0), (4, 2, 5, 7, 3)), jax.random.normal(jax.random.key(1), (3, 3, 3, 5))
    found, expected = (jax.vmap(jax.grad(lambda x, conv=conv: jnp.sum(jnp.sin(conv(x, kernel)))))(x) for conv in (conv3x3, of_jax))
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-4)
