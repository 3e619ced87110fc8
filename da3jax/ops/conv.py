"""A convolution whose gradients are as fast as itself on a CPU."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from da3jax.ops.product import product
from da3jax.ops.target import target_platform

LAYOUT = ("NHWC", "HWIO", "NHWC")
BLOCK = 200_000
"""Numbers that one block of the kernel's gradient looks at: they stay in the cache of a core."""


def conv3x3(x: jax.Array, kernel: jax.Array) -> jax.Array:
    """Of x (N, H, W, I) and a kernel (3, 3, I, O), at the same size: (N, H, W, O).

    On a CPU it has a reverse-mode gradient only (no `jax.jvp`). XLA:CPU takes its fast path for convolutions in one layout, and inside a
    loop does not bring others there: the gradients that JAX derives then make a training step seven times as long.
    """
    return (_of_cpu if target_platform() == "cpu" else _conv)(x, kernel)


def _conv(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return lax.conv_general_dilated(x, kernel, (1, 1), ((1, 1), (1, 1)), dimension_numbers=LAYOUT)


@jax.custom_vjp
def _of_cpu(x: jax.Array, kernel: jax.Array) -> jax.Array:
    return _conv(x, kernel)


def _forward(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple]:
    return _conv(x, kernel), (x, kernel)


def _backward(kept: tuple, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = kept
    # A copy of the kernel, lest the swap of its axes become a layout that the fast path does not know.
    turned = lax.optimization_barrier(jnp.flip(kernel, (0, 1)).swapaxes(2, 3))
    return _conv(gradient, turned), _of_kernel(x, gradient)


def _of_kernel(x: jax.Array, gradient: jax.Array) -> jax.Array:
    """The kernel's gradient, summed over blocks of rows or images: a block's gradient times all nine shifts of its inputs."""
    (images, height, width, inputs), outputs = x.shape, gradient.shape[-1]
    rows = BLOCK // (width * (9 * inputs + outputs))
    group, rows = min(images, max(1, rows // height)), min(height, max(1, rows))
    across, down = -(-images // group), -(-height // rows)
    more, below = across * group - images, down * rows - height
    x = jnp.pad(x, ((0, more), (1, 1 + below), (1, 1), (0, 0)))
    gradient = jnp.pad(gradient, ((0, more), (0, below), (0, 0), (0, 0)))

    def add(total: jax.Array, k: jax.Array) -> tuple[jax.Array, None]:
        start = (k // down * group, k % down * rows, 0, 0)
        part = lax.dynamic_slice(x, start, (group, rows + 2, *x.shape[2:]))
        shifts = [part[:, i : i + rows, j : j + width] for i in range(3) for j in range(3)]
        inner = lax.dynamic_slice(gradient, start, (group, rows, width, outputs))
        return total + product("po,pi->oi", inner.reshape(-1, outputs), jnp.concatenate(shifts, axis=-1).reshape(-1, 9 * inputs)), None

    total = jnp.zeros((outputs, 9 * inputs), jnp.float32)
    total, _ = add(total, 0) if across * down == 1 else lax.scan(add, total, jnp.arange(across * down))
    return total.reshape(outputs, 3, 3, inputs).transpose(1, 2, 3, 0).astype(x.dtype)


_of_cpu.defvjp(_forward, _backward)
