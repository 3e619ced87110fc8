"""What goes on, on stderr, and what came of it, on stdout."""

from __future__ import annotations

import contextlib
import os
import pathlib
import time
from collections.abc import Iterator

import typer
from rich.console import Console
from rich.text import Text


class Progress(Console):
    """stderr, and the seconds that each step took, by what was said of it."""

    def __init__(self, *, quiet: bool = False):
        super().__init__(stderr=True, quiet=quiet)
        self.seconds: dict[str, float] = {}

    def say(self, sentence: str) -> None:
        """One line, however long; nothing in it is markup."""
        self.print(Text(sentence), soft_wrap=True)

    @contextlib.contextmanager
    def timed(self, what: str) -> Iterator[None]:
        """Says how long `what` took."""
        start = time.perf_counter()
        yield
        self.seconds[what] = time.perf_counter() - start
        self.say(f"{what}: {self.seconds[what]:.1f} s")

    @contextlib.contextmanager
    def step(self, what: str) -> Iterator[None]:
        """Shows that `what` goes on, and says how long it took."""
        with self.timed(what), self.status(Text(f"{what} …")):
            yield


def print_path(path: pathlib.Path) -> None:
    """A line of stdout: the bytes of the path, which need not be text."""
    typer.echo(os.fsencode(path))
