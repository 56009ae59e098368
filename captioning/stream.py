"""Captions for a stream of images of any length: decoded ahead in threads, several in each call of the model."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from captioning.captioner import Captioner, Pixels
from common.jobs import Output
from common.problems import Problem

#: Model batches that are decoded ahead.
BATCHES_AHEAD = 2
#: Threads that wait for decoding processes.
DECODING_THREADS = 4

Item = TypeVar("Item")


def caption_stream(
    captioner: Captioner, items: Iterable[Item], read: Callable[[Item], bytes], max_batch: int
) -> Iterator[tuple[Item, Output | Problem]]:
    """Each item with its caption, or with its problem, in order.

    `read` returns the bytes of an item's file, and may raise its `Problem`. `items` is read as far as decoding ahead
    needs it. `max_batch` is the number of images in one call of the model.
    """

    def prepare(item: Item) -> Pixels:
        return captioner.prepare(read(item))

    remaining = iter(items)
    with ThreadPoolExecutor(DECODING_THREADS, thread_name_prefix="decode") as threads:
        ahead: deque[tuple[Item, Future[Pixels]]] = deque()
        try:
            while True:
                missing = (1 + BATCHES_AHEAD) * max_batch - len(ahead)
                ahead.extend((item, threads.submit(prepare, item)) for item in islice(remaining, missing))
                if not ahead:
                    return
                batch = [ahead.popleft() for _ in range(min(max_batch, len(ahead)))]
                yield from _caption(captioner, batch)
        finally:
            for _, future in ahead:
                future.cancel()


def _caption(captioner: Captioner, batch: list[tuple[Item, Future[Pixels]]]) -> Iterator[tuple[Item, Output | Problem]]:
    prepared: list[Pixels] = []
    refused: dict[int, Problem] = {}
    for index, (_, future) in enumerate(batch):
        try:
            prepared.append(future.result())
        except Problem as problem:
            refused[index] = problem
    captions = iter(captioner.caption(prepared) if prepared else ())
    for index, (item, _) in enumerate(batch):
        yield item, refused[index] if index in refused else next(captions)
