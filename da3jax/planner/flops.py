"""Floating-point operations of a program, those in a loop as often as it turns (XLA's cost analysis counts a loop's body once)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn


def count_flops(program: ClosedJaxpr | Jaxpr, platform: str = "cpu") -> int:
    """Operations of the matrix products and convolutions, a multiplication and an addition counting as two; what else there is is less.

    Of `lax.platform_dependent` the part for `platform` counts, of another choice the larger part. Products with the zeros that pad a
    convolution count.

    Raises:
        ValueError: a loop that turns until a condition holds: how often is not known before it runs.
    """
    return sum(_of_equation(equation, platform) for equation in getattr(program, "jaxpr", program).eqns)


def _of_equation(equation: JaxprEqn, platform: str) -> int:
    params, result = equation.params, [variable.aval for variable in equation.outvars]
    match equation.primitive.name:
        case "dot_general":
            (contracted, _), _ = params["dimension_numbers"]
            return 2 * result[0].size * math.prod(equation.invars[0].aval.shape[axis] for axis in contracted)
        case "conv_general_dilated":
            kernel, (_, *rest) = equation.invars[1].aval.shape, params["dimension_numbers"].rhs_spec
            return 2 * result[0].size * math.prod(kernel[axis] for axis in rest)  # inputs of one group, rows, columns
        case "scan":
            return params["length"] * count_flops(params["jaxpr"], platform)
        case "shard_map":  # what it holds is one device's part
            return params["mesh"].size * count_flops(params["jaxpr"], platform)
        case "cond" if params.get("branches_platforms"):
            platforms = params["branches_platforms"]
            chosen = next(i for i, names in enumerate(platforms) if names is None or platform in names)
            return count_flops(params["branches"][chosen], platform)
        case "cond":
            return max(count_flops(branch, platform) for branch in params["branches"])
        case "while" if any(count_flops(part, platform) for part in _inside(params)):
            raise ValueError("the program has products in a loop that turns until a condition holds; how many cannot be counted")
    return sum(count_flops(part, platform) for part in _inside(params))


def _inside(params: dict[str, Any]) -> Iterator[ClosedJaxpr | Jaxpr]:
    """The programs among an equation's parameters."""
    for value in params.values():
        for part in value if isinstance(value, tuple | list) else (value,):
            if isinstance(part, ClosedJaxpr | Jaxpr):
                yield part
