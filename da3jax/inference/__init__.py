"""From images to a prediction, and from a prediction to metres and to the size of the photographs."""

from da3jax.inference.metric import to_metres
from da3jax.inference.model import DepthAnything3
from da3jax.inference.native import to_native

__all__ = ["DepthAnything3", "to_metres", "to_native"]
