"""Every test sees eight CPU devices; a silent rank promotion is an error."""

import os

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = " ".join(
    (
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=8",
        "--xla_cpu_collective_call_terminate_timeout_seconds=600",
    )
)

import pathlib

import jax  # the flags above come first
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")


@pytest.fixture(scope="session")
def released_dir() -> pathlib.Path:
    """A tiny any-view network in the released layout."""
    return pathlib.Path(__file__).parent / "golden" / "anyview"


@pytest.fixture(scope="session")
def tiny_model_dir(released_dir, tmp_path_factory) -> pathlib.Path:
    """The same, converted."""
    from da3jax import weights

    return weights.convert(released_dir, tmp_path_factory.mktemp("models") / "tiny")
