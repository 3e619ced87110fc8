"""Images and cameras -> a batch of normalised views."""

from da3jax.inputs.images import list_images, read_image
from da3jax.inputs.preprocess import preprocess

__all__ = ["list_images", "preprocess", "read_image"]
