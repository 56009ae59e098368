"""A shared/exclusive lock: normal jobs run together, a suspect runs alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class SharedExclusiveLock:
    """Many threads hold it shared, or one exclusively; who waits for it exclusively goes first.

    A picture that ends the process takes an attempt from every job that the process holds. Those that were held once
    when a worker was lost are therefore tried alone, so that the one to blame takes no attempt from others again.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._holders = 0
        self._exclusive = False
        self._waiting_exclusive = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold it together with others, once nobody holds it or waits for it exclusively."""
        with self._changed:
            self._changed.wait_for(lambda: not self._exclusive and not self._waiting_exclusive)
            self._holders += 1
        try:
            yield
        finally:
            self._leave()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold it alone, once nobody else holds it."""
        with self._changed:
            self._waiting_exclusive += 1
            self._changed.wait_for(lambda: not self._holders)
            self._waiting_exclusive -= 1
            self._exclusive = True
            self._holders += 1
        try:
            yield
        finally:
            self._leave()

    def _leave(self) -> None:
        with self._changed:
            self._holders -= 1
            self._exclusive = False
            self._changed.notify_all()
