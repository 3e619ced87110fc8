"""Where a leaf goes while it is read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

Shardings = None | jax.sharding.Sharding | dict[str, Any] | Callable[[str, tuple[int, ...]], jax.sharding.Sharding]
"""None for the default device, one sharding for all, a tree like the parameters', or a function of path (`a/b/c`) and shape."""


def sharding_of(path: str, shape: tuple[int, ...], shardings: Shardings) -> jax.sharding.Sharding | None:
    """The sharding that `shardings` gives the leaf at `path`.

    Raises:
        ValueError: `shardings` is a dict without that leaf.
    """
    if isinstance(shardings, dict):
        for name in path.split("/"):
            if not isinstance(shardings, dict) or name not in shardings:
                raise ValueError(f"shardings has no entry for {path}; as a dict it is a tree like the parameters'")
            shardings = shardings[name]
        return shardings
    if shardings is None or isinstance(shardings, jax.sharding.Sharding):
        return shardings
    return shardings(path, shape)


def place(array: np.ndarray, path: str, shardings: Shardings, read: Callable[[np.ndarray], np.ndarray] = np.asarray) -> jax.Array:
    """`array` on its device or devices, each of which gets its part alone.

    `read` is called with those parts that devices of this process hold, each once; of an array that is mapped from a file no other is read.
    """
    sharding = sharding_of(path, array.shape, shardings)
    if sharding is None:
        return jax.device_put(read(array))
    parts: dict[str, np.ndarray] = {}

    def part(index: tuple[slice, ...]) -> np.ndarray:
        name = str(index)
        if name not in parts:
            parts[name] = read(array[index])
        return parts[name]

    return jax.make_array_from_callback(array.shape, sharding, part)
