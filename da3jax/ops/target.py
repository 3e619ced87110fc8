"""The device that programs are made for: that of the default backend, unless they are planned for one that is not here."""

from __future__ import annotations

from typing import Any

import jax

made_for = jax.make_user_context()
"""`with made_for(device):` has programs decide as on `device`, of which a description is enough. Caches of `jax.jit` look at it."""


def target_device() -> Any:
    """The device, or one of several of its kind."""
    return jax.local_devices()[0] if made_for.value is None else made_for.value


def target_platform() -> str:
    """`cpu`, `gpu` or `tpu`."""
    if made_for.value is None:
        return jax.default_backend()
    platform = made_for.value.platform
    return "gpu" if platform in ("cuda", "rocm") else platform
