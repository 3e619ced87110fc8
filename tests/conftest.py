"""Every test sees eight CPU devices; a silent rank promotion is an error; what one test has compiled, others find in a cache."""

import gc
import os
import signal
import tempfile

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = " ".join(
    (
        os.environ.get("XLA_FLAGS", ""),
        "--xla_force_host_platform_device_count=8",
        "--xla_cpu_collective_call_terminate_timeout_seconds=600",
        "--xla_cpu_use_fusion_emitters=false",  # the former emitters compile in half the time
        "--xla_cpu_parallel_codegen_split_count=1",  # workers of pytest share the cores already
    )
)

# A process started in the background may ignore Ctrl-C, and hands that on to those that tests interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)

gc.set_threshold(50_000)  # programs that are traced stay: to look through them all again and again was a tenth of the time

if "JAX_COMPILATION_CACHE_DIR" not in os.environ:  # workers share that of the process that started them
    _cache = tempfile.TemporaryDirectory(prefix="da3jax-tests-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache.name
# Most programs run once, and compiling them is most of what the tests take.
os.environ["JAX_DISABLE_MOST_OPTIMIZATIONS"] = "1"
os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.5"

import pathlib

import jax
import pytest

jax.config.update("jax_numpy_rank_promotion", "raise")

MAPPINGS = pathlib.Path("/proc/self/maps")


@pytest.fixture(scope="module", autouse=True)
def _room_for_programs():
    """Lets go of compiled programs in time: one of training takes thousands of memory mappings, and Linux gives a process 65 530."""
    yield
    if MAPPINGS.exists() and MAPPINGS.read_bytes().count(b"\n") > 20_000:
        jax.clear_caches()


@pytest.fixture(scope="module")
def well_compiled():
    """For modules whose few programs run long, or whose memory counts: they are compiled as they are for users."""
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", True)


@pytest.fixture(scope="session")
def released_dir() -> pathlib.Path:
    """A tiny any-view network in the released layout."""
    return pathlib.Path(__file__).parent / "golden" / "anyview"


@pytest.fixture(scope="session")
def tiny_model_dir(released_dir, tmp_path_factory) -> pathlib.Path:
    """The same, converted."""
    from da3jax import weights

    return weights.convert(released_dir, tmp_path_factory.mktemp("models") / "tiny")
