"""Kinds of options: one of several words, a number within bounds; what is out of them is a usage error."""

import math
from collections.abc import Callable
from typing import Any

import typer

from da3jax.schema import one_of

MOST = 2**16
"""Pixels of a side, and views: no more than any machine has room for."""


def checked(check: Callable[[Any], None]) -> Callable[[Any], Any]:
    """An option's callback: what `check` refuses is a usage error, be it a value, a file that cannot be read, or for want of an extra."""

    def callback(value: Any) -> Any:
        try:
            if value is not None:
                check(value)
        except (ValueError, OSError, ModuleNotFoundError) as error:
            raise typer.BadParameter(str(error)) from error
        return value

    return callback


def choice(allowed: tuple[str, ...], help: str) -> Any:
    """An option that takes one of `allowed`."""
    return typer.Option(help=help, metavar=f"[{'|'.join(allowed)}]", callback=checked(lambda value: one_of("value", value, allowed)))


def number(low: float, high: float, help: str) -> Any:
    """An option that takes a number from `low` to `high`."""

    def check(value: float) -> None:
        if not low <= value <= high:
            raise ValueError(f"{value} is out of range; it is {f'between {low} and {high}' if high < math.inf else f'at least {low}'}")

    return typer.Option(help=help, callback=checked(check))


def positive(help: str) -> Any:
    """An option that takes a positive number."""

    def check(value: float) -> None:
        if not 0 < value < math.inf:
            raise ValueError(f"{value} is out of range; it is a positive number")

    return typer.Option(help=help, callback=checked(check))
