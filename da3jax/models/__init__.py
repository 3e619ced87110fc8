"""The networks as Flax linen modules: one part of the architecture a file."""

from da3jax.models.network import NestedNetwork, Network, build_network, compute_dtype, forward, init_params
from da3jax.models.on_mesh import apply_on_mesh
from da3jax.models.sky import fill_sky
from da3jax.models.stacking import is_stacked, stack_layers, unstack_layers

__all__ = [
    "NestedNetwork",
    "Network",
    "apply_on_mesh",
    "build_network",
    "compute_dtype",
    "fill_sky",
    "forward",
    "init_params",
    "is_stacked",
    "stack_layers",
    "unstack_layers",
]
