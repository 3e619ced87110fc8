"""`da3jax models`."""

import sys

from rich.console import Console
from rich.table import Table

from da3jax.cli.failures import failures_in_a_sentence


@failures_in_a_sentence()
def command() -> None:
    """The released variants: parameters, licence, what each can do."""
    from da3jax.weights.released import RELEASES

    table = Table("variant", "parameters", "licence", "can do", box=None, padding=(0, 2, 0, 0))
    table.columns[0].no_wrap = True
    table.columns[1].justify = "right"
    for name, release in RELEASES.items():
        table.add_row(name, f"{release.parameters:.2f} M", release.licence, ", ".join(release.abilities))
    # A pipe has no width to fit in: a line stays a variant.
    Console(width=None if sys.stdout.isatty() else 200).print(table)
