"""Scenes of the yardstick, rendered once."""

import pytest

from benchmarks import yardstick


@pytest.fixture(scope="session")
def batches():
    return list(yardstick.scenes(4))
