"""What makes tests quick."""

import jax


def quick_jit(function):
    """`jax.jit` that spends less time on compiling than on running fast."""
    return jax.jit(function, compiler_options={"xla_backend_optimization_level": 0, "xla_llvm_disable_expensive_passes": True})
