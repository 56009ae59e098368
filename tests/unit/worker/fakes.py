"""Fakes of the worker's dependencies, and helpers that wait for its threads."""

from __future__ import annotations

import contextlib
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from typing import TypeVar

import numpy as np
from kombu.connection import Connection

from captioning.captioner import ModelServer, Pixels
from common.images.decoding import decode
from common.jobs import ModelInfo, Output
from common.options import SearchOptions
from common.problems import Problem
from common.queue import queue_of

#: Timeout in seconds for threads; reached only when a test fails.
TIMEOUT = 30.0
MAX_PIXELS = 10**8
MODEL = ModelInfo(name="fake", version="sha256:1", demo=True)
#: Name of a model that the worker does not have.
OTHER_MODEL = "other"

Result = TypeVar("Result")


class FakeCaptioner:
    """Captions an image with its width. Tests may set hooks for both steps; the second may return a problem."""

    def __init__(self) -> None:
        self.model = MODEL
        self.device, self.precision, self.loaded = "cpu", "fp32", True
        self.server: ModelServer | None = None
        self.calls: list[int] = []
        self.searches: list[SearchOptions | None] = []
        self.on_prepare: Callable[[], object] = lambda: None
        self.on_caption: Callable[[], object] = lambda: None

    def prepare(self, data: bytes) -> Pixels:
        image = decode(data, MAX_PIXELS)
        self.on_prepare()
        return np.full((3, 1, 1), image.width, dtype=np.float32)

    def caption(self, images: Sequence[Pixels], search: SearchOptions | None = None) -> Sequence[Output | Problem]:
        self.calls.append(len(images))
        self.searches.append(search)
        problem = self.on_caption()
        if isinstance(problem, Problem):
            return [problem] * len(images)
        return [Output(caption=f"{pixels[0, 0, 0]:.0f} wide", score=-1.0) for pixels in images]


class Gate:
    """Blocks the captioner's model calls until `open`."""

    def __init__(self, captioner: FakeCaptioner) -> None:
        self._entered, self._opened = threading.Event(), threading.Event()
        captioner.on_caption = self._block

    def wait_for_call(self) -> None:
        """Wait until a call has started."""
        assert self._entered.wait(TIMEOUT)

    def open(self) -> None:
        self._opened.set()

    def _block(self) -> None:
        self._entered.set()
        self._opened.wait(TIMEOUT)


class Notifications:
    """The notifications at the in-memory broker."""

    def clear(self) -> None:
        """Remove the notifications for no model, for that of the fake captioner and for `OTHER_MODEL`."""
        for model in ("", MODEL.name, OTHER_MODEL):
            self.count(model)

    def count(self, model: str = "") -> int:
        """Remove and count the notifications for a model; fails if one has arguments."""
        number = 0
        with Connection("memory://") as connection:
            waiting = connection.SimpleQueue(queue_of(model), no_ack=True)
            with contextlib.suppress(queue.Empty):
                while True:
                    assert waiting.get(block=False).payload[:2] == [[], {}]
                    number += 1
        return number


def with_timeout(call: Callable[[], Result]) -> Result:
    """The result of `call`, run in a thread; fails after the timeout."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future.result(TIMEOUT)


def eventually(condition: Callable[[], object]) -> None:
    """Wait until `condition` is true; fails after the timeout."""
    deadline = time.monotonic() + TIMEOUT
    while not condition():
        assert time.monotonic() < deadline, "The condition did not become true."
        time.sleep(0.005)
