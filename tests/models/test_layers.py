import jax.numpy as jnp
import numpy as np
import pytest
from flax.errors import ScopeParamShapeError

from da3jax.models.layers import Dense

PARAMS = {"kernel": jnp.array([[1.0, 2, 3], [4, 5, 6]]), "bias": jnp.array([0.0, 0, 7])}


def test_parameters_that_are_there_are_not_drawn():
    def never(key, shape, dtype):
        raise AssertionError(f"{shape} is drawn")

    y = Dense(3, bias_init=never).apply({"params": PARAMS}, jnp.array([[1.0, 10]]))
    np.testing.assert_array_equal(y, [[41, 52, 70]])


def test_parameters_of_another_shape_are_refused():
    with pytest.raises(ScopeParamShapeError, match=r'"bias" .* shape \(3,\), .* has shape \(4,\)'):
        Dense(3).apply({"params": PARAMS | {"bias": jnp.zeros(4)}}, jnp.ones((1, 2)))
