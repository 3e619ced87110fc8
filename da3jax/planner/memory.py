"""What a program takes of the memory of one of its devices, as the compiler for that device plans it."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import Any

import jax

from da3jax.types import Params

_REFUSED = re.compile(r"RESOURCE_EXHAUSTED.*?([\d.]+)([KMGT])\b", re.DOTALL)
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def peak_bytes(lowered: jax.stages.Lowered, params: Params, compiler_options: Mapping[str, Any]) -> int:
    """The most that a program takes of a device, with its arguments, of which `params` come first; compiles it.

    XLA:TPU refuses what does not fit, and says how much that would take; only then is the result as coarse as its message.
    """
    try:
        compiled = lowered.compile(compiler_options=dict(compiler_options) or None)
    except jax.errors.JaxRuntimeError as error:
        if refused := _REFUSED.search(str(error)):
            return int(float(refused[1]) * _UNITS[refused[2]])
        raise
    plan = compiled.memory_analysis()
    used = plan.argument_size_in_bytes + plan.output_size_in_bytes + plan.temp_size_in_bytes - plan.alias_size_in_bytes
    return used + plan.generated_code_size_in_bytes + _unused_bytes(compiled, params)


def _unused_bytes(compiled: jax.stages.Compiled, params: Params) -> int:
    """Of parameters that the program leaves out, such as those of a head that is not asked for: they are on the device all the same."""
    (shardings, *_), _ = compiled.input_shardings
    found = zip(jax.tree.leaves(params), jax.tree.leaves(shardings, is_leaf=lambda leaf: leaf is None), strict=True)
    return sum(_bytes_on_a_device(leaf) for leaf, sharding in found if sharding is None)


def _bytes_on_a_device(leaf: jax.ShapeDtypeStruct) -> int:
    shape = leaf.shape if leaf.sharding is None else leaf.sharding.shard_shape(leaf.shape)
    return math.prod(shape) * leaf.dtype.itemsize
