"""Where scenes are drawn: thousands of operations on single numbers, which XLA:GPU takes many minutes to compile."""

import jax


def host_device() -> jax.Device:
    """A CPU of this process; where JAX_PLATFORMS leaves it out, the default device."""
    try:
        return jax.local_devices(backend="cpu")[0]
    except RuntimeError:
        return jax.local_devices()[0]
