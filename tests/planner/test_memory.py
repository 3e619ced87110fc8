"""Memory of compiled programs."""

import types

import jax
import jax.numpy as jnp
import pytest

from da3jax.planner.memory import peak_bytes

MIB = 2**20


def test_arguments_results_and_what_lies_between():
    params = {"used": jax.ShapeDtypeStruct((MIB,), jnp.float32), "unused": jax.ShapeDtypeStruct((MIB // 2,), jnp.float32)}
    images = jax.ShapeDtypeStruct((1024,), jnp.float32)

    def program(params, images):
        return jnp.sort(jnp.outer(images, params["used"][:1024]), axis=0)[0]

    used = peak_bytes(jax.jit(program).lower(params, images), params, {})
    named = (MIB + MIB // 2 + 2 * 1024) * 4  # parameters, the one that nothing looks at as well, images and the result
    assert named + 4 * MIB <= used <= named + 9 * MIB  # and one or two arrays of 1024 × 1024


def test_what_is_overwritten_counts_once():
    x = jax.ShapeDtypeStruct((MIB,), jnp.float32)
    used = [peak_bytes(jax.jit(lambda params, x: x + 1, donate_argnums=donated).lower({}, x), {}, {}) for donated in ((), 1)]
    assert used[0] - used[1] == 4 * MIB


def refusing(message):
    def compile(compiler_options):
        raise jax.errors.JaxRuntimeError(message)

    return types.SimpleNamespace(compile=compile)


def test_a_compiler_that_refuses_says_how_much_it_takes():
    message = "the total memory required for HLO temporaries (200.50G) exceeds available HBM (15.75G)."
    assert peak_bytes(refusing(f"RESOURCE_EXHAUSTED: Ran out of memory on HBM, {message}"), {}, {}) == 200.5 * 2**30


def test_other_failures_of_the_compiler_are_raised():
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL: 12 G of trouble"):
        peak_bytes(refusing("INTERNAL: 12 G of trouble"), {}, {})
