"""Depth Anything 3 in JAX and Flax: depth, rays and cameras from any number of images."""

from da3jax import config, geometry
from da3jax.inference import DepthAnything3, to_metres, to_native
from da3jax.inputs import preprocess
from da3jax.models import NestedNetwork, Network, forward, init_params, stack_layers, unstack_layers
from da3jax.parallel import make_mesh
from da3jax.types import NetworkOutput, Prediction, Views

__version__ = "0.1.0"

__all__ = [
    "DepthAnything3",
    "NestedNetwork",
    "Network",
    "NetworkOutput",
    "Prediction",
    "Views",
    "config",
    "forward",
    "geometry",
    "init_params",
    "make_mesh",
    "preprocess",
    "stack_layers",
    "to_metres",
    "to_native",
    "unstack_layers",
]
