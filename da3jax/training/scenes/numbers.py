"""Random numbers out of one block: one draw compiles in a fraction of the time of the hundreds that a scene takes."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtri


class Numbers:
    """Hands out the parts of a block of `count` random numbers, each once, so that the order of calls makes the scene."""

    def __init__(self, key: jax.Array, count: int):
        self._block = jax.random.uniform(key, (count,))
        self._next = 0

    def uniform(self, low: jax.Array | float, high: jax.Array | float, shape: tuple[int, ...] = ()) -> jax.Array:
        """Evenly between low and high, which may be arrays."""
        begin = self._next
        self._next += math.prod(shape)
        return low + (high - low) * self._block[begin : self._next].reshape(shape)

    def loguniform(self, low: jax.Array | float, high: jax.Array | float, shape: tuple[int, ...] = ()) -> jax.Array:
        """Between low and high, evenly in the logarithm."""
        return jnp.exp(self.uniform(jnp.log(low), jnp.log(high), shape))

    def normal(self, shape: tuple[int, ...] = ()) -> jax.Array:
        """Of mean 0 and deviation 1, cut off at 3."""
        return ndtri(self.uniform(0.00135, 0.99865, shape))

    def chance(self, share: jax.Array | float, shape: tuple[int, ...] = ()) -> jax.Array:
        """True in this share of cases."""
        return self.uniform(0, 1, shape) < share

    def whole(self, low: int, high: int, shape: tuple[int, ...] = ()) -> jax.Array:
        """int32 from low up to, not including, high."""
        return jnp.minimum(self.uniform(low, high, shape).astype(jnp.int32), high - 1)

    def choice(self, shares: tuple[float, ...], shape: tuple[int, ...] = ()) -> jax.Array:
        """int32 index of one of the shares, which need not add up to 1."""
        total, bounds = 0.0, []
        for share in shares:
            total += share
            bounds.append(total)
        value = self.uniform(0, total, shape)
        return sum(jnp.where(value >= bound, 1, 0) for bound in bounds[:-1])
