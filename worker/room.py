"""Where a worker's jobs are worked on: many together, or a suspected one alone."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager


class Room:
    """Lets tasks in, and keeps the others out while one must be alone.

    A picture that ends the process takes an attempt from every job that the process holds. Those that were held once
    when a worker was lost are therefore tried alone, so that the one to blame has no company the next time.
    """

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._inside = 0
        self._occupied = False
        self._want_it_alone = 0

    @contextmanager
    def entered(self, *, alone: bool) -> Iterator[None]:
        """Be inside, waiting for as long as the company does not fit."""
        with self._changed:
            if alone:
                self._want_it_alone += 1
                self._changed.wait_for(lambda: not self._inside)
                self._want_it_alone -= 1
                self._occupied = True
            else:
                self._changed.wait_for(lambda: not self._occupied and not self._want_it_alone)
            self._inside += 1
        try:
            yield
        finally:
            with self._changed:
                self._inside -= 1
                if alone:
                    self._occupied = False
                self._changed.notify_all()
