"""SIGTERM, which schedulers send before they kill: a run ends after its step, with everything saved."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Stop:
    """Whether the run was asked to end."""

    asked = False


@contextmanager
def on_sigterm() -> Iterator[Stop]:
    """Note the first SIGTERM instead of dying of it; a second one kills, should the step never end."""
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield stop
        return

    def note(number: int, frame: object) -> None:
        stop.asked = True
        signal.signal(signal.SIGTERM, signal.SIG_DFL)

    before = signal.signal(signal.SIGTERM, note)
    try:
        yield stop
    finally:
        signal.signal(signal.SIGTERM, before)
