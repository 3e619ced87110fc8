"""What a run measures, as CSV files that one can plot, and for TensorBoard."""

from __future__ import annotations

import csv
import io
import os
import pathlib
import tempfile
from collections.abc import Iterable, Mapping
from typing import Any

from da3jax.outputs.atomic import atomic
from da3jax.schema import one_of

STREAMS = ("train", "validation")


class MetricsLog:
    """Writes `<folder>/train.csv` and `<folder>/validation.csv`: a header, then one row for each `write`, there as soon as it returns.

    The first column is `step`. A metric that is first written later widens the header, and the cells above it stay empty. Numbers are
    written in full, `nan` and `inf` too. With `tensorboard` the same goes into event files in `<folder>/tensorboard/`, as
    `train/<metric>` and `validation/<metric>`, within ten seconds; a context manager, for leaving it writes what is left of those.

    Args:
        folder: made if need be.
        resume: the step the run goes on from, 0 for a new one. Rows after it that the folder already has, and a last line that was cut
            short, are dropped; TensorBoard drops its own after that step too.
        tensorboard: also write event files.

    Raises:
        ModuleNotFoundError: `tensorboard` without tensorboardX; the message says how to install it.
        OSError: the folder cannot be written.
        ValueError: a file of that name is there and is not such a file; nothing is changed then.
    """

    def __init__(self, folder: str | pathlib.Path, *, resume: int = 0, tensorboard: bool = False) -> None:
        self._folder = pathlib.Path(folder)
        self._headers: dict[str, list[str]] = {}
        self._board: Any = None
        if tensorboard:
            try:
                from tensorboardX import SummaryWriter
            except ModuleNotFoundError as error:
                message = 'writing metrics for TensorBoard needs tensorboardX: pip install "da3jax[tensorboard]"'
                raise ModuleNotFoundError(message, name="tensorboardX") from error
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=self._folder):
                pass
            tables = {stream: _read(self._path(stream)) for stream in STREAMS if self._path(stream).exists()}
            for stream, (header, rows, cut) in tables.items():
                kept = [row for row in rows if int(row[0]) <= resume]
                if cut or len(kept) < len(rows):
                    _rewrite(self._path(stream), header, kept)
                self._headers[stream] = header
            if tensorboard:
                board = self._folder / "tensorboard"
                # without the suffix a run that goes on within the same second would overwrite the file of the one before
                self._board = SummaryWriter(str(board), purge_step=resume + 1, flush_secs=10, filename_suffix=f".{resume}")
        except OSError as error:
            raise OSError(f"metrics cannot be written into the folder {folder}: {error.strerror or error}") from error

    def __enter__(self) -> MetricsLog:
        return self

    def __exit__(self, *_: object) -> None:
        if self._board is not None:
            self._board.close()

    def write(self, stream: str, step: int, metrics: Mapping[str, float]) -> None:
        """Adds one row.

        Args:
            stream: "train" or "validation".
            step: how many steps had been taken.
            metrics: by name; scalars of numpy or JAX are taken too.

        Raises:
            ValueError: `stream` is unknown, or a metric is called "step".
            OSError: the row cannot be written; the file is as it was before.
        """
        one_of("stream", stream, STREAMS)
        if "step" in metrics:
            raise ValueError('a metric is called "step", which is the name of the first column; give it another name')
        values = {name: float(value) for name, value in metrics.items()}
        header = self._headers.get(stream, ["step"])
        wider = [*header, *(name for name in values if name not in header)]
        row = [int(step), *(values.get(name, "") for name in wider[1:])]
        path = self._path(stream)
        if stream in self._headers and wider == header:
            _append(path, row)
        else:
            rows = _read(path)[1] if stream in self._headers else []
            _rewrite(path, wider, [*rows, row])
            self._headers[stream] = wider
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"{stream}/{name}", value, int(step))

    def _path(self, stream: str) -> pathlib.Path:
        return self._folder / f"{stream}.csv"


def _read(path: pathlib.Path) -> tuple[list[str], list[list[str]], bool]:
    """The header, the rows, and whether the last line was cut short (by a kill), which is then left out."""
    text = path.read_text(encoding="utf-8", errors="replace")
    whole = text[: text.rfind("\n") + 1]
    header, *rows = csv.reader(io.StringIO(whole)) if whole else [["step"]]
    if header[:1] != ["step"] or any(len(row) > len(header) or not row or not row[0].isdecimal() for row in rows):
        raise ValueError(f"{path} is not a file of metrics, which has a first column of steps; move it away, or name another folder")
    return header, rows, whole != text


def _rewrite(path: pathlib.Path, header: list[str], rows: Iterable[list[Any]]) -> None:
    with atomic(path) as temp, temp.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file, lineterminator="\n")
        table.writerow(header)
        table.writerows([*row, *[""] * (len(header) - len(row))] for row in rows)


def _append(path: pathlib.Path, row: list[Any]) -> None:
    """Adds a line, all of it or nothing."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(row)
    try:
        size = path.stat().st_size
        try:
            with path.open("a", encoding="utf-8", newline="") as file:
                file.write(line.getvalue())
        except OSError:
            os.truncate(path, size)
            raise
    except OSError as error:
        raise OSError(f"{path.name} cannot be written into the folder {path.parent}: {error.strerror or error}") from error
