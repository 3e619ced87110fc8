"""Tiny networks with recorded weights, and pictures for them."""

import dataclasses
import logging

import jax
import numpy as np
import pytest

import da3jax
from da3jax.config import NestedConfig


@pytest.fixture(scope="session")
def model(released_dir):
    return da3jax.DepthAnything3.from_pretrained(released_dir)


@pytest.fixture(scope="session")
def single_view(released_dir):
    return da3jax.DepthAnything3.from_pretrained(released_dir.parent / "single_view")


@pytest.fixture(scope="session")
def metric(single_view):
    """The same as a metric network."""
    config = dataclasses.replace(single_view.config, name="tiny-metric", canonical_focal=300.0)
    return da3jax.DepthAnything3(single_view.params, config)


@pytest.fixture(scope="session")
def nested(model, metric):
    config = NestedConfig("tiny-nested", model.config, metric.config)
    return da3jax.DepthAnything3({"anyview": model.params, "metric": metric.params}, config)


@pytest.fixture(scope="session")
def images():
    rng = np.random.default_rng(0)
    return [rng.integers(0, 256, (60, 80, 3), dtype=np.uint8) for _ in range(3)]


@pytest.fixture
def compiled(caplog):
    """What was compiled since the last call, as JAX names it."""

    def names():
        with_name = [record.getMessage() for record in caplog.records if record.getMessage().startswith("Compiling ")]
        caplog.clear()
        return with_name

    with jax.log_compiles(), caplog.at_level(logging.WARNING, "jax"):
        yield names
