"""Files that appear whole or not at all."""

from __future__ import annotations

import contextlib
import errno
import os
import pathlib
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor


@contextlib.contextmanager
def atomic(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a path to write in place of `path`; it becomes `path` when the block ends well and disappears when it does not.

    The temporary file lies in the same folder, so that the last step is one rename, and has the same suffix, for writers that
    choose a format by it. Folders are created as needed.

    Raises:
        OSError: the folder or the file cannot be written; whatever `path` held before is still there.
    """
    with _temporary(path) as temp, _one_sentence(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temp
        temp.replace(path)


def write_bytes(path: pathlib.Path, content: bytes) -> None:
    """Writes one file.

    Raises:
        OSError: as `atomic`.
    """
    with atomic(path) as temp:
        temp.write_bytes(content)


def check_writable(folder: str | pathlib.Path, name: str = "the export folder") -> None:
    """Creates a folder if it is not there and makes sure that files can be written into it; leaves nothing else behind.

    Args:
        folder: the path.
        name: what an error calls it.

    Raises:
        OSError: the folder cannot be created or written, or the path is a file.
    """
    try:
        pathlib.Path(folder).mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except (FileExistsError, NotADirectoryError) as error:
        raise OSError(f"{name} {folder} is a file, or lies below one; name a folder, it is created if need be") from error
    except OSError as error:
        raise OSError(f"{name} {folder} cannot be written: {error.strerror or error}") from error


def nearest_folder(path: str | pathlib.Path) -> pathlib.Path:
    """What is there of a path that is to be created: itself, or the nearest of its parents that exists."""
    path = pathlib.Path(path).absolute()
    return next(place for place in (path, *path.parents) if place.exists())


@contextlib.contextmanager
def together() -> Iterator[Callable[[pathlib.Path, bytes], None]]:
    """Yields what writes one of several files that belong together: all of them appear when the block ends well, and none when it does not.

    Each is on the disk under a temporary name until then, not in memory, so that a full disk or Ctrl-C leaves what was there.

    Raises:
        OSError: as `atomic`.
    """
    temps: dict[pathlib.Path, pathlib.Path] = {}
    with contextlib.ExitStack() as stack:

        def write(path: pathlib.Path, content: bytes) -> None:
            temps[path] = temp = stack.enter_context(_temporary(path))
            with _one_sentence(path):
                path.parent.mkdir(parents=True, exist_ok=True)
                if path.is_dir():  # else found out when others are renamed already
                    raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
                temp.write_bytes(content)

        def rename() -> None:
            for path, temp in temps.items():
                with _one_sentence(path):
                    temp.replace(path)

        yield write
        with ThreadPoolExecutor(1) as thread:  # Ctrl-C interrupts the main thread only, and that waits here for the last of them
            thread.submit(int).result()  # it runs: were it interrupted while it starts, nobody would wait for it
            thread.submit(rename).result()


def write_together(files: Mapping[pathlib.Path, bytes]) -> None:
    """Writes files that belong together and fit into memory.

    Raises:
        OSError: as `atomic`; all of them are as they were.
    """
    with together() as write:
        for path, content in files.items():
            write(path, content)


@contextlib.contextmanager
def _temporary(path: pathlib.Path) -> Iterator[pathlib.Path]:
    # Not made of the whole name, which may be as long as the file system allows.
    temp = path.with_name(f".{path.stem[:16]}.{secrets.token_hex(4)}.tmp{path.suffix}")
    try:
        yield temp
    finally:
        with contextlib.suppress(OSError):  # there is nothing to remove after the rename, or where nothing could be created
            temp.unlink()


@contextlib.contextmanager
def _one_sentence(path: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise OSError(f"{path.name} cannot be written into the folder {path.parent}: {error.strerror or error}") from error
