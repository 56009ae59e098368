"""Pictures from many tasks, one call of the model; knows neither Celery nor torch.

Each task waits on a future. One model thread takes what is waiting, up to `max_batch` pictures: when it is idle
it starts at once, and while it is busy the queue fills by itself, so no picture waits for others to come. Interactive
pictures go first, in a call that they do not share with those of batches; the next call is for both then.
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

#: Full batches that may wait of either kind; a task that submits more is held back.
WAITING_BATCHES = 4
#: Part of a call for both kinds that is for the pictures of batches, if as many wait.
BULK_PART = 1 / 4
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
        self._interactive: deque[tuple[Item, Future[Done[Result]]]] = deque()
        self._bulk: deque[tuple[Item, Future[Done[Result]]]] = deque()
        #: Whether the last call was for interactive items only, while others waited.
        self._passed_over = False
        self._changed = threading.Condition()
        self._open = True
        self._items_per_second: float | None = None
        self._thread = threading.Thread(target=self._run, name="model", daemon=True)
        self._thread.start()

    @property
    def items_per_second(self) -> float | None:
        """The model's speed while it is busy; None before the first batch."""
        return self._items_per_second

    def submit(self, item: Item, *, interactive: bool = False) -> Future[Done[Result]]:
        """Add an item, waiting while the queue is full; raises `Closed` after `close`.

        An item whose future is canceled leaves the queue.
        """
        queue = self._interactive if interactive else self._bulk
        entry: tuple[Item, Future[Done[Result]]] = (item, Future())
        with self._changed:
            self._changed.wait_for(lambda: len(queue) < self._capacity or not self._open)
            if not self._open:
                raise Closed
            queue.append(entry)
            self._changed.notify_all()
        entry[1].add_done_callback(lambda future: self._remove(queue, future) if future.cancelled() else None)
        return entry[1]

    def close(self) -> None:
        """Take no more items, finish those that wait, and end the model thread."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
        self._thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._interactive or self._bulk or not self._open)
                if not self._interactive and not self._bulk:
                    return
                batch = self._next()
                self._changed.notify_all()
            # A future that is canceled at this moment costs no model time and cannot be resolved.
            wanted = [(item, future) for item, future in batch if future.set_running_or_notify_cancel()]
            if wanted:
                self._caption(wanted)

    def _next(self) -> list[tuple[Item, Future[Done[Result]]]]:
        """Take the items of the next call."""
        interactive = len(self._interactive)
        shared = self._bulk and (self._passed_over or not interactive)
        self._passed_over = bool(self._bulk) and not shared
        bulk = 0
        if shared:
            reserved = max(1, int(BULK_PART * self._limit))
            bulk = min(len(self._bulk), max(reserved, self._limit - interactive))
        taken = [self._interactive.popleft() for _ in range(min(interactive, self._limit - bulk))]
        return taken + [self._bulk.popleft() for _ in range(bulk)]

    def _remove(self, queue: deque[tuple[Item, Future[Done[Result]]]], future: Future[Done[Result]]) -> None:
        with self._changed:
            for place, (_, waiting) in enumerate(queue):
                if waiting is future:
                    del queue[place]
                    self._changed.notify_all()
                    break
            else:  # the model's thread has just taken it
                return
        future.set_running_or_notify_cancel()  # which wakes whoever waits for it

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
