"""What tests of several geometry files share."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from tests.quick import quick_jit


@pytest.fixture
def assert_derivatives():
    """Checks that forward, reverse and numerical Jacobians agree, in float64, for every example of a batch."""

    def check(function, *batch, step=1e-6, atol=1e-6, rtol=1e-5):
        with jax.enable_x64(True):
            batch = tuple(jnp.asarray(x, jnp.float64) for x in batch)
            shapes = [x.shape[1:] for x in batch]
            flat = jnp.concatenate([x.reshape(len(x), -1) for x in batch], axis=1)  # (examples, numbers)

            def of_numbers(numbers):
                parts = jnp.split(numbers, np.cumsum([np.prod(s, dtype=int) for s in shapes])[:-1])
                return jnp.ravel(function(*(part.reshape(s) for part, s in zip(parts, shapes, strict=True))))

            moves = step * jnp.eye(flat.shape[1])[None]
            apart = quick_jit(lambda x: jax.vmap(jax.vmap(of_numbers))(x + moves) - jax.vmap(jax.vmap(of_numbers))(x - moves))
            numerical = np.swapaxes(np.asarray(apart(flat[:, None])) / (2 * step), 1, 2)
            forward = quick_jit(jax.vmap(jax.jacfwd(of_numbers)))(flat)
            reverse = quick_jit(jax.vmap(jax.jacrev(of_numbers)))(flat)
        assert np.isfinite(numerical).all()
        np.testing.assert_allclose(forward, reverse, atol=1e-9, rtol=1e-9)
        np.testing.assert_allclose(forward, numerical, atol=atol, rtol=rtol)

    return check
