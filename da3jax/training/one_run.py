"""A folder belongs to one run at a time."""

from __future__ import annotations

import contextlib
import logging
import pathlib
from collections.abc import Iterator

from filelock import FileLock, Timeout

logger = logging.getLogger(__name__)


@contextlib.contextmanager
def alone_in(folder: pathlib.Path) -> Iterator[None]:
    """Within it no other process enters the same folder; a process that dies has left it.

    Raises:
        BlockingIOError: another process is in it.
    """
    lock = FileLock(folder / ".lock", blocking=False)
    try:
        lock.acquire()
    except Timeout as error:
        raise BlockingIOError(f"another process trains in {folder}; wait for it, or name another folder") from error
    except NotImplementedError:
        logger.warning("the file system of %s has no locks; see to it that no other process trains there", folder)
    try:
        yield
    finally:
        lock.release()
