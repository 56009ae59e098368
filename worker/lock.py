"""A shared/exclusive lock: normal jobs run together, a suspect runs alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class SharedExclusiveLock:
    """Held shared by many threads or exclusively by one; waiting exclusive holders take precedence.

    An image that crashes the process costs every job held by the process an attempt. Jobs held by a lost worker are
    therefore retried alone, so that the image at fault costs no other job a second attempt.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._holders = 0
        self._exclusive = False
        self._waiting_exclusive = 0

    @contextmanager
    def shared(self) -> Iterator[None]:
        """Hold the lock shared; blocks while a thread holds or awaits it exclusively."""
        with self._changed:
            self._changed.wait_for(lambda: not self._exclusive and not self._waiting_exclusive)
            self._holders += 1
        try:
            yield
        finally:
            self._release()

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the lock exclusively; blocks while any thread holds it."""
        with self._changed:
            self._waiting_exclusive += 1
            self._changed.wait_for(lambda: not self._holders)
            self._waiting_exclusive -= 1
            self._exclusive = True
            self._holders += 1
        try:
            yield
        finally:
            self._release()

    def _release(self) -> None:
        with self._changed:
            self._holders -= 1
            self._exclusive = False
            self._changed.notify_all()
