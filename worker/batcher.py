"""Pictures from many tasks, one call of the model; knows neither Celery nor torch.

Each task waits on a future. One model thread takes what is waiting, up to `max_batch` pictures: when it is idle
it starts at once, and while it is busy the queue fills by itself, so no picture waits for others to come.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Full batches that may wait; a task that submits more is held back.
WAITING_BATCHES = 4
#: How much the newest batch weighs in the measured speed.
SPEED_WEIGHT = 0.2

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Done(Generic[Result]):
    """An item's result, and the model call it came from."""

    result: Result
    seconds: float
    batch_size: int


class Closed(Exception):
    """The batcher takes no more items: the worker shuts down."""


class Batcher(Generic[Item, Result]):
    """Runs `model` on what is waiting, in one thread of its own.

    `model` takes a list and returns as many results in the same order. A call that raises is repeated on the
    two halves of its batch, down to the one item that is to blame, which alone gets the error. When memory runs
    out the halves become the new limit.
    """

    def __init__(self, model: Callable[[Sequence[Item]], Sequence[Result]], max_batch: int) -> None:
        self._model = model
        self._limit = max_batch
        self._capacity = WAITING_BATCHES * max_batch
        self._waiting: deque[tuple[Item, Future[Done[Result]]]] = deque()
        self._changed = threading.Condition()
        self._open = True
        self._items_per_second: float | None = None
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    @property
    def items_per_second(self) -> float | None:
        """The model's speed while it is busy; None before the first batch."""
        return self._items_per_second

    def submit(self, item: Item) -> Future[Done[Result]]:
        """Add an item, waiting while the queue is full; raises `Closed` after `close`."""
        future: Future[Done[Result]] = Future()
        with self._changed:
            self._changed.wait_for(lambda: len(self._waiting) < self._capacity or not self._open)
            if not self._open:
                raise Closed
            self._waiting.append((item, future))
            self._changed.notify_all()
        return future

    def close(self) -> None:
        """Take no more items, finish those that wait, and end the model thread."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or not self._open)
                if not self._waiting:
                    return
                count = min(self._limit, len(self._waiting))
                batch = [self._waiting.popleft() for _ in range(count)]
                self._changed.notify_all()
            # A future that was cancelled meanwhile costs no model time and cannot be resolved.
            wanted = [(item, future) for item, future in batch if future.set_running_or_notify_cancel()]
            if wanted:
                self._caption(wanted)

    def _caption(self, batch: list[tuple[Item, Future[Done[Result]]]]) -> None:
        started = time.monotonic()
        try:
            results = self._model([item for item, _ in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"The model returned {len(results)} results for {len(batch)} items.")
        except Exception as error:
            if len(batch) == 1:
                batch[0][1].set_exception(error)
                return
            half = len(batch) // 2
            if _out_of_memory(error):
                self._limit = min(self._limit, half)
                log.warning("Memory ran out at %d pictures; at most %d at once from now on.", len(batch), half)
            self._caption(batch[:half])
            self._caption(batch[half:])
            return
        seconds = time.monotonic() - started
        self._measure(len(batch) / max(seconds, 1e-6))
        for (_, future), result in zip(batch, results, strict=True):
            future.set_result(Done(result, seconds, len(batch)))

    def _measure(self, speed: float) -> None:
        before = self._items_per_second
        self._items_per_second = speed if before is None else before + SPEED_WEIGHT * (speed - before)


def _out_of_memory(error: Exception) -> bool:
    # torch's class is known by its name, so that this module need not import torch.
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
