"""Captions for a stream of images of any length: decoded ahead in threads, several in each call of the model.

A server's model is asked about one image at a time, in several threads.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from itertools import islice
from typing import TypeVar

from captioning.captioner import Captioner, ModelServer, ModelUnavailable, Pixels
from common.jobs import Output
from common.problems import Problem

#: Model batches that are decoded ahead.
BATCHES_AHEAD = 2
#: Threads that wait for decoding processes.
DECODING_THREADS = 4
#: Seconds for which an image waits for the model's server by default, and between two looks at it.
OUTAGE_TIMEOUT, OUTAGE_INTERVAL = 600.0, 1.0

Item = TypeVar("Item")
Value = TypeVar("Value")


def caption_stream(
    captioner: Captioner,
    items: Iterable[Item],
    read: Callable[[Item], bytes],
    max_batch: int,
    patience: float = OUTAGE_TIMEOUT,
) -> Iterator[tuple[Item, Output | Problem]]:
    """Each item with its caption, or with its problem, in order.

    `read` returns the bytes of an item's file, and may raise its `Problem`. `items` is read as far as decoding ahead
    needs it. `max_batch` is the number of images in one call of the model, or of requests at a time to its server.
    Raises `ModelUnavailable` if an image has waited for that server for `patience` seconds.
    """
    if captioner.server:
        yield from _from_server(captioner, captioner.server, items, read, max_batch, patience)
        return

    def prepare(item: Item) -> Pixels:
        return captioner.prepare(read(item))

    with (
        ThreadPoolExecutor(DECODING_THREADS, thread_name_prefix="decode") as threads,
        closing(_ahead(threads, prepare, items, BATCHES_AHEAD * max_batch + 1)) as started,
    ):
        while batch := list(islice(started, max_batch)):
            yield from _caption(captioner, batch)


def _ahead(
    threads: ThreadPoolExecutor, function: Callable[[Item], Value], items: Iterable[Item], count: int
) -> Generator[tuple[Item, Future[Value]]]:
    """Each item with the future of `function`, in order, of which `count` are started before one is taken.

    Those that are not taken are canceled when the generator is closed.
    """
    remaining = iter(items)
    started: deque[tuple[Item, Future[Value]]] = deque()
    try:
        while True:
            missing = islice(remaining, count - len(started))
            started.extend((item, threads.submit(function, item)) for item in missing)
            if not started:
                return
            yield started.popleft()
    finally:
        for _, future in started:
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


def _from_server(
    captioner: Captioner,
    server: ModelServer,
    items: Iterable[Item],
    read: Callable[[Item], bytes],
    requests: int,
    patience: float,
) -> Iterator[tuple[Item, Output | Problem]]:
    stopping = threading.Event()

    def caption(item: Item) -> Output | Problem:
        try:
            pixels = captioner.prepare(read(item))
        except Problem as problem:
            return problem
        deadline = None
        while True:
            try:
                return captioner.caption([pixels])[0]
            except ModelUnavailable:
                deadline = deadline or time.monotonic() + patience
                if stopping.wait(OUTAGE_INTERVAL) or time.monotonic() > deadline:
                    raise
                server.check()

    with ThreadPoolExecutor(requests, thread_name_prefix="model") as threads:
        try:
            with closing(_ahead(threads, caption, items, 2 * requests)) as started:
                for item, future in started:
                    yield item, future.result()
        except BaseException:
            # Otherwise leaving the block waits for the requests in progress.
            stopping.set()
            server.close()
            raise
