"""Ctrl-C and the end of a machine's lease as a wish to stop, heard between two steps."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
from collections.abc import Iterator

logger = logging.getLogger(__name__)

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Interruption:
    """Whether someone wants the run to stop."""

    wanted = False


@contextlib.contextmanager
def heard_between_steps() -> Iterator[Interruption]:
    """Within it the first SIGINT or SIGTERM only sets `wanted`; a second one interrupts at once, as without this.

    Threads other than the main one cannot listen; there nothing changes.
    """
    interruption = Interruption()
    if threading.current_thread() is not threading.main_thread():
        yield interruption
        return

    def note(number: int, frame: object) -> None:
        interruption.wanted = True
        logger.warning("stops after this step; interrupt again to stop at once")
        for which in SIGNALS:
            signal.signal(which, before[which])

    before = {which: signal.signal(which, note) for which in SIGNALS}
    try:
        yield interruption
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)
