"""The tiny released networks, as they lie in their files and as they are loaded."""

import pytest
from safetensors.numpy import load_file

from da3jax.weights.safetensors_store import load


@pytest.fixture(scope="session")
def single_view_dir(released_dir):
    return released_dir.parent / "single_view"


@pytest.fixture(scope="session")
def original(released_dir):
    """What the released folder holds, by key."""
    return load_file(released_dir / "model.safetensors")


@pytest.fixture(scope="session")
def loaded(released_dir):
    return load(released_dir)
