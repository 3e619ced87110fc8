"""Attention across all devices without a gather: keys and values go round in a ring (Liu et al. 2023, arXiv:2310.01889)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax

from da3jax.parallel.views import Axis

LARGEST_GATHERED = 2 * 2**30
"""Bytes of a block's keys and values of all views up to which each device gathers them."""
LARGEST_GATHERED_FOR_CUDNN = 16 * 2**30
"""The same where cuDNN attends to them, which does not give exactly what the ring needs to go on; it is faster than what does."""

Attended = tuple[jax.Array, jax.Array]
"""What `da3jax.ops.attention.partial_attention` gives, over whatever leading axes: (…, H, D) and (…, H)."""


def ring_is_better(gathered: int, devices: int, cudnn: bool = False) -> bool:
    """Whether keys and values that would be so many bytes when gathered go round instead, among so many devices.

    Both ways send the same bytes. A gather holds keys and values of all views, and is one collective. A ring holds those of two devices
    (the ones in use and the ones that come), and queries and a float32 sum of its own views: in bfloat16 as much as keys and values of 3.5
    devices, in float32 of three. So a gather is taken where it is small, and among two devices.
    """
    return devices > 2 and gathered > (LARGEST_GATHERED_FOR_CUDNN if cudnn else LARGEST_GATHERED)


def ring_attention(attend: Callable[[Any, jax.Array | None], Attended], keys_values: Any, mask: jax.Array | None, axis: Axis) -> jax.Array:
    """What this device's queries see of the keys of all devices; inside `jax.shard_map`.

    Args:
        attend: `(keys and values, mask)` to what the queries see of them, for arrays like those of this device.
        keys_values: of this device's views, any tree of arrays.
        mask: (B, keys of all devices) bool, which keys count; None for all.
        axis: of the mesh.

    Returns:
        As the first that `attend` gives.
    """
    devices, me = lax.axis_size(axis), lax.axis_index(axis)
    onward = [(device, (device + 1) % devices) for device in range(devices)]

    def attend_to(keys_values: Any, number: jax.Array | int) -> Attended:
        if mask is None:
            return attend(keys_values, None)
        size = mask.shape[1] // devices
        return attend(keys_values, lax.dynamic_slice_in_dim(mask, (me - number) % devices * size, size, 1))

    def turn(carry: tuple[Any, Attended], number: jax.Array) -> tuple[tuple[Any, Attended], None]:
        here, seen = carry
        coming = lax.ppermute(here, axis, onward)  # it does not depend on what follows, and can run beside it
        return (coming, _together(seen, attend_to(here, number))), None

    coming = lax.ppermute(keys_values, axis, onward)
    seen = attend_to(keys_values, 0)
    (here, seen), _ = lax.scan(turn, (coming, seen), jnp.arange(1, devices - 1))
    return _together(seen, attend_to(here, devices - 1))[0]


def _together(a: Attended, b: Attended) -> Attended:
    """What queries see of two sets of keys, of what they see of each."""
    total = jnp.logaddexp(a[1], b[1])
    shares = (jnp.exp(log - total)[..., None] for log in (a[1], b[1]))
    return sum(out * share for (out, _), share in zip((a, b), shares, strict=True)), total
