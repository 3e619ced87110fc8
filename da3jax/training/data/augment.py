"""Photometric augmentation and normalisation, on the device."""

from __future__ import annotations

import jax
import jax.numpy as jnp

from da3jax.inputs.preprocess import IMAGENET_MEAN, IMAGENET_STD
from da3jax.training.data.config import AugmentConfig

_LUMA = (0.299, 0.587, 0.114)
_YIQ = ((0.299, 0.587, 0.114), (0.5959, -0.2746, -0.3213), (0.2115, -0.5227, 0.3112))
"""From red, green, blue to NTSC's luma and two colour differences, in which a change of hue is a rotation."""


def to_unit_range(images: jax.Array) -> jax.Array:
    """uint8 images as float32 from 0 to 1; others as they are."""
    images = jnp.asarray(images)
    return images.astype(jnp.float32) / 255 if images.dtype == jnp.uint8 else images


def normalize_images(images: jax.Array) -> jax.Array:
    """Images (..., 3), sRGB, uint8 or from 0 to 1, as `da3jax.forward` takes them: less ImageNet's mean, by its deviation, float32."""
    images = to_unit_range(images)
    shape = (1,) * (images.ndim - 1) + (3,)
    return (images - jnp.array(IMAGENET_MEAN, jnp.float32).reshape(shape)) / jnp.array(IMAGENET_STD, jnp.float32).reshape(shape)


def augment(key: jax.Array, images: jax.Array, config: AugmentConfig = AugmentConfig()) -> jax.Array:  # noqa: B008  (frozen)
    """Other light, colours and sharpness, as a function of the key.

    Brightness, contrast, saturation and hue change alike for all views of a scene, but for small differences, and in this order; then some
    scenes lose their colours and some views are blurred.

    Args:
        key: of the random numbers.
        images: (B, S, H, W, 3) uint8, or float from 0 to 1.
        config: ranges; static under `jit`.

    Returns:
        float32 from 0 to 1, of the same shape.
    """
    images = to_unit_range(images)
    batch, views = images.shape[:2]
    keys = iter(jax.random.split(key, 7))

    def jitter(extent: float) -> jax.Array:
        """(B, S, 1, 1, 1) from −extent to extent, nearly the same along S."""
        for_scene, for_view = jax.random.split(next(keys))
        scene = jax.random.uniform(for_scene, (batch, 1), minval=-1, maxval=1)
        view = jax.random.uniform(for_view, (batch, views), minval=-1, maxval=1)
        share = config.per_view
        return (extent * ((1 - share) * scene + share * view))[..., None, None, None]

    images = images * (1 + jitter(config.brightness))
    middle = jnp.mean(_luma(images), axis=(1, 2, 3, 4), keepdims=True)
    images = middle + (images - middle) * (1 + jitter(config.contrast))
    luma = _luma(images)
    images = luma + (images - luma) * (1 + jitter(config.saturation))
    images = _turn_hue(images, 2 * jnp.pi * jitter(config.hue))
    grey = jax.random.bernoulli(next(keys), float(config.grey), (batch, 1, 1, 1, 1))
    images = jnp.clip(jnp.where(grey, _luma(images), images), 0, 1)
    if not config.blur:
        return images
    blurred = jax.random.bernoulli(next(keys), float(config.blur), (batch, views))
    sigma = jax.random.uniform(next(keys), (batch, views), minval=0.0, maxval=config.blur_sigma)
    return _blur(images, jnp.where(blurred, sigma, 0), config.blur_sigma)


def _luma(images: jax.Array) -> jax.Array:
    return sum(weight * images[..., i : i + 1] for i, weight in enumerate(_LUMA))


def _turn_hue(images: jax.Array, angle: jax.Array) -> jax.Array:
    y, i, q = (sum(weight * images[..., c] for c, weight in enumerate(row)) for row in _YIQ)
    cos, sin = jnp.cos(angle[..., 0]), jnp.sin(angle[..., 0])
    turned = y, cos * i - sin * q, sin * i + cos * q
    back = jnp.linalg.inv(jnp.array(_YIQ))
    return jnp.stack([sum(back[c, k] * turned[k] for k in range(3)) for c in range(3)], axis=-1)


def _blur(images: jax.Array, sigma: jax.Array, largest: float) -> jax.Array:
    """Each view (H, W, 3) through a Gaussian of its own deviation (B, S) in pixels; with 0 it stays as it is."""
    radius = max(1, round(2.5 * largest))
    offset = jnp.arange(-radius, radius + 1, dtype=jnp.float32).reshape(1, 1, -1)
    weight = jnp.exp(-0.5 * (offset / jnp.maximum(sigma, 1e-3)[..., None]) ** 2)
    weight = weight / jnp.sum(weight, axis=-1, keepdims=True)
    for axis in (2, 3):
        length = images.shape[axis]
        padding = [(0, 0)] * 5
        padding[axis] = (radius, radius)
        padded = jnp.pad(images, padding, mode="edge")
        images = sum(
            weight[..., k, None, None, None] * jax.lax.slice_in_dim(padded, k, k + length, axis=axis) for k in range(2 * radius + 1)
        )
    return jnp.clip(images, 0, 1)
