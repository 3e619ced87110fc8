"""A convolution whose gradients are as fast as itself on a CPU."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import lax

from da3jax.ops.target import target_platform

LAYOUT = ("NHWC", "HWIO", "NHWC")


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
    rows, inputs, outputs = x.shape[1], *kernel.shape[2:]
    padded = jnp.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)))
    # The kernel's three columns in one product, as three shifts of the gradient; its rows are slices without a copy.
    shifted = jnp.concatenate([jnp.pad(gradient, ((0, 0), (0, 0), (j, 2 - j), (0, 0))) for j in range(3)], axis=-1)
    of_kernel = jnp.stack([jnp.einsum("nhwi,nhwo->io", padded[:, i : i + rows], shifted) for i in range(3)])
    of_kernel = of_kernel.reshape(3, inputs, 3, outputs).swapaxes(1, 2)
    # A copy of the kernel, lest the swap of its axes become a layout that the fast path does not know.
    turned = lax.optimization_barrier(jnp.flip(kernel, (0, 1)).swapaxes(2, 3))
    return _conv(gradient, turned), of_kernel


_of_cpu.defvjp(_forward, _backward)
