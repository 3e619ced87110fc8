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

import jax  # the flags above come first

jax.config.update("jax_numpy_rank_promotion", "raise")
