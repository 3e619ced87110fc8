"""Quotients, roots and lengths with finite gradients, and products in full precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from da3jax import geometry
from da3jax.geometry import rigid, safe


def test_values_are_the_plain_ones_and_zero_where_these_do_not_exist():
    np.testing.assert_array_equal(safe.safe_divide(jnp.array([6.0, 5.0]), jnp.array([3.0, 0.0])), [2, 0])
    np.testing.assert_array_equal(safe.safe_sqrt(jnp.array([9.0, 0.0, -1.0])), [3, 0, 0])
    np.testing.assert_array_equal(safe.safe_norm(jnp.array([[3.0, 4.0], [0.0, 0.0]])), [5, 0])
    np.testing.assert_allclose(safe.safe_normalize(jnp.array([[3.0, 4.0], [0.0, 0.0]])), [[0.6, 0.8], [0, 0]], rtol=1e-6)


@pytest.mark.parametrize("jacobian", [jax.jacfwd, jax.jacrev])
def test_gradients_at_zero_are_zero(jacobian):
    zero = jnp.zeros(3)
    for function in (safe.safe_sqrt, safe.safe_norm, safe.safe_normalize):
        slope = jax.jit(jacobian(function))(zero)
        np.testing.assert_array_equal(slope, np.zeros_like(slope))


def test_products_and_their_gradients_ask_for_full_precision_whatever_the_default():
    with jax.default_matmul_precision("bfloat16"):
        program = str(jax.make_jaxpr(jax.grad(lambda t: jnp.sum(rigid.invert_rigid(t) ** 2)))(jnp.eye(4)))
    assert program.count("dot_general") == program.count("precision=(Precision.HIGHEST, Precision.HIGHEST)") == 3


POSE, PINHOLE, POINTS, MAP = jnp.eye(3, 4)[None], jnp.eye(3)[None], jnp.ones((1, 4, 3)), jnp.ones((1, 2, 3))


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (geometry.compose_rigid, (POSE, POSE)),
        (geometry.project, (POINTS, POSE, PINHOLE)),
        (geometry.unproject, (MAP, PINHOLE, POSE)),
        (geometry.normalize_poses, (POSE,)),
        (geometry.harmonic_terms, (POINTS,)),
        (geometry.rotate_harmonics, (jnp.ones((1, 9)), PINHOLE)),
        (geometry.gaussians_from_raw, (jnp.ones((1, 2, 3, 37)), MAP, MAP, POSE, PINHOLE)),
        (geometry.umeyama, (POINTS, POINTS)),
        (geometry.align_poses, (POSE, POSE)),
    ],
)
def test_no_product_of_geometry_is_rounded(function, arguments):
    program = str(jax.make_jaxpr(function)(*arguments))
    assert program.count("dot_general") == program.count("precision=(Precision.HIGHEST, Precision.HIGHEST)") > 0
