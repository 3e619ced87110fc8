"""Fifty small scenes, drawn once."""

import jax
import numpy as np
import pytest

from tests.training.scenes.small import COUNT, draw


@pytest.fixture(scope="session")
def keys():
    return jax.random.split(jax.random.key(7), COUNT)


@pytest.fixture(scope="session")
def draw_all():
    return jax.jit(jax.vmap(draw))


@pytest.fixture(scope="session")
def drawn(draw_all, keys):
    """Scenes and their views, as arrays on the device, scenes leading."""
    return draw_all(keys)


@pytest.fixture(scope="session")
def scenes(drawn):
    return drawn[0]


@pytest.fixture(scope="session")
def views(drawn):
    return jax.tree.map(np.asarray, drawn[1])
