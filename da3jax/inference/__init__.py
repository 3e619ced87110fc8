"""From images to a prediction, and from a prediction to metres."""

from da3jax.inference.metric import to_metres
from da3jax.inference.model import DepthAnything3

__all__ = ["DepthAnything3", "to_metres"]
