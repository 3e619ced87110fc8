"""Peak memory, the most views and FLOPs of inference on devices that need not be here, by the compiler for them."""

from da3jax.planner.planning import Plan, plan
from da3jax.planner.topologies import find_topology, topologies

__all__ = ["Plan", "find_topology", "plan", "topologies"]
