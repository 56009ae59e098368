"""Dynamic batching: collects images of many tasks into model calls. Imports neither Celery nor torch.

Each task waits on a future. A model thread takes up to `max_batch` queued images as soon as it is idle, so no image
waits for a batch to fill up; the queue fills while the model is busy. Interactive images go first, in a call without
bulk images; if bulk images wait, the next call is shared by both.

A model in this process is called by one thread with many images, a server's by many threads with one image each, so
that interactive and bulk images take turns while both wait.

All images of a call have the same key. It is the key of the image that has waited longest in the queue whose turn it
is, so that images with a rare key are not left behind.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Future
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

#: Capacity of each queue in full batches; `submit` blocks while the queue is full.
QUEUED_BATCHES = 4
#: Fraction of a shared call that is reserved for bulk images.
BULK_FRACTION = 1 / 4
#: Weight of the newest batch in the moving average of the speed.
SPEED_WEIGHT = 0.2

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ItemResult(Generic[Result]):
    """An item's result, with the seconds and the batch size of its model call."""

    result: Result
    seconds: float
    batch_size: int


@dataclass(frozen=True, eq=False)
class QueueEntry(Generic[Item, Result]):
    """A queued item with its key and its future."""

    item: Item
    key: Hashable
    future: Future[ItemResult[Result]]


class Closed(Exception):
    """The batcher is closed: the worker shuts down."""


class Batcher(Generic[Item, Result]):
    """Runs `model` on queued items in `threads` threads, by default in one.

    `model` maps a list of items to a list of results of the same length and order; `key` returns an item's key, which
    all items of a call share. Each call runs in the `context` of its items, such as their ids on log lines. When a call
    raises, the batch is split in halves and retried, so that only the failing item gets the error. After an
    out-of-memory error, half the batch size becomes the new limit.
    """

    def __init__(
        self,
        model: Callable[[Sequence[Item]], Sequence[Result]],
        key: Callable[[Item], Hashable],
        max_batch: int,
        context: Callable[[Sequence[Item]], AbstractContextManager[object]] = nullcontext,
        threads: int = 1,
    ) -> None:
        self._model = model
        self._context = context
        self._key = key
        self._limit = max_batch
        self._capacity = QUEUED_BATCHES * max_batch * threads
        self._interactive: deque[QueueEntry[Item, Result]] = deque()
        self._bulk: deque[QueueEntry[Item, Result]] = deque()
        #: Whether the last call was interactive only although bulk items waited.
        self._bulk_skipped = False
        self._changed = threading.Condition()
        self._open = True
        self._items_per_second: float | None = None
        #: Threads that call the model now.
        self._busy = 0
        self._threads = [threading.Thread(target=self._run, name="model", daemon=True) for _ in range(threads)]
        for thread in self._threads:
            thread.start()

    @property
    def items_per_second(self) -> float | None:
        """Throughput of the model in items per second while it is called; None before the first batch."""
        return self._items_per_second

    def submit(self, item: Item, *, interactive: bool = False) -> Future[ItemResult[Result]]:
        """Queue an item; blocks while the queue is full. Raises `Closed` after `close`.

        Canceling the future removes the item from the queue.
        """
        queue = self._interactive if interactive else self._bulk
        entry: QueueEntry[Item, Result] = QueueEntry(item, self._key(item), Future())
        with self._changed:
            self._changed.wait_for(lambda: len(queue) < self._capacity or not self._open)
            if not self._open:
                raise Closed
            queue.append(entry)
            self._changed.notify_all()
        entry.future.add_done_callback(lambda future: self._remove(queue, future) if future.cancelled() else None)
        return entry.future

    def close(self) -> None:
        """Refuse new items, finish the queued ones and stop the model threads."""
        with self._changed:
            self._open = False
            self._changed.notify_all()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._interactive or self._bulk or not self._open)
                if not self._interactive and not self._bulk:
                    return
                batch = self._next_batch()
                self._busy += 1
                self._changed.notify_all()
            # Skip futures that were canceled meanwhile; they cannot be resolved.
            pending = [entry for entry in batch if entry.future.set_running_or_notify_cancel()]
            if pending:
                self._run_batch(pending)
            with self._changed:
                self._busy -= 1

    def _next_batch(self) -> list[QueueEntry[Item, Result]]:
        """Remove the items of the next call from the queues."""
        interactive = len(self._interactive)
        shared = self._bulk and (self._bulk_skipped or not interactive)
        self._bulk_skipped = bool(self._bulk) and not shared
        if not shared:
            return _take(self._interactive, self._interactive[0].key, self._limit)
        reserved = max(1, int(BULK_FRACTION * self._limit))
        key = self._bulk[0].key
        bulk = _take(self._bulk, key, max(reserved, self._limit - interactive))
        return _take(self._interactive, key, self._limit - len(bulk)) + bulk

    def _remove(self, queue: deque[QueueEntry[Item, Result]], future: Future[ItemResult[Result]]) -> None:
        with self._changed:
            for index, entry in enumerate(queue):
                if entry.future is future:
                    del queue[index]
                    self._changed.notify_all()
                    break
            else:  # a model thread has already taken it
                return
        future.set_running_or_notify_cancel()  # wakes threads that wait for it

    def _run_batch(self, batch: list[QueueEntry[Item, Result]]) -> None:
        with self._context([entry.item for entry in batch]):
            self._run_model(batch)

    def _run_model(self, batch: list[QueueEntry[Item, Result]]) -> None:
        started = time.monotonic()
        try:
            results = self._model([entry.item for entry in batch])
            if len(results) != len(batch):
                raise RuntimeError(f"The model returned {len(results)} results for {len(batch)} items.")
        except Exception as error:
            if len(batch) == 1:
                batch[0].future.set_exception(error)
                return
            half = len(batch) // 2
            if _out_of_memory(error):
                self._limit = min(self._limit, half)
                log.warning("Out of memory with a batch of %d images; the new limit is %d.", len(batch), half)
            self._run_batch(batch[:half])
            self._run_batch(batch[half:])
            return
        seconds = time.monotonic() - started
        self._update_speed(self._busy * len(batch) / max(seconds, 1e-6))
        for entry, result in zip(batch, results, strict=True):
            entry.future.set_result(ItemResult(result, seconds, len(batch)))

    def _update_speed(self, speed: float) -> None:
        average = self._items_per_second
        self._items_per_second = speed if average is None else average + SPEED_WEIGHT * (speed - average)


def _take(queue: deque[QueueEntry[Item, Result]], key: Hashable, count: int) -> list[QueueEntry[Item, Result]]:
    """Remove the first `count` entries with this key; the others keep their order."""
    taken: list[QueueEntry[Item, Result]] = []
    others: list[QueueEntry[Item, Result]] = []
    while queue and len(taken) < count:
        entry = queue.popleft()
        (taken if entry.key == key else others).append(entry)
    queue.extendleft(reversed(others))
    return taken


def _out_of_memory(error: Exception) -> bool:
    # Compares the name of torch's class, so that this module need not import torch.
    return isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError"
