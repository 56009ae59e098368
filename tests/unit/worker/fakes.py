"""Stand-ins for what a worker has around it, and patience for its threads."""

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

from captioning.captioner import Pixels
from common.images.decoding import decode
from common.jobs import InputInfo, ModelInfo, Output
from common.problems import Problem

#: Seconds after which a test gives a thread up; only a broken one needs them.
PATIENCE = 30.0
MAX_PIXELS = 10**8
MODEL = ModelInfo(name="fake", version="sha256:1", demo=True)
PICTURE = InputInfo(filename="ball.jpg", sha256="d0", bytes=3, format="JPEG", width=320, height=240)

Result = TypeVar("Result")


class FakeCaptioner:
    """Says how wide a picture is; a test may do something first at either step, or give a problem in place of it."""

    def __init__(self) -> None:
        self.model = MODEL
        self.calls: list[int] = []
        self.at_prepare: Callable[[], object] = lambda: None
        self.at_caption: Callable[[], object] = lambda: None

    def prepare(self, data: bytes) -> Pixels:
        image = decode(data, MAX_PIXELS)
        self.at_prepare()
        return np.full((3, 1, 1), image.width, dtype=np.float32)

    def caption(self, pictures: Sequence[Pixels]) -> Sequence[Output | Problem]:
        self.calls.append(len(pictures))
        problem = self.at_caption()
        if isinstance(problem, Problem):
            return [problem] * len(pictures)
        return [Output(caption=f"{pixels[0, 0, 0]:.0f} wide", score=-1.0) for pixels in pictures]


class Gate:
    """Holds the calls of a captioner's model until it is opened."""

    def __init__(self, captioner: FakeCaptioner) -> None:
        self._entered, self._opened = threading.Event(), threading.Event()
        captioner.at_caption = self._hold

    def wait_for_call(self) -> None:
        """Wait until a call has begun."""
        assert self._entered.wait(PATIENCE)

    def open(self) -> None:
        self._opened.set()

    def _hold(self) -> None:
        self._entered.set()
        self._opened.wait(PATIENCE)


class Notifications:
    """The notifications at the broker in memory."""

    def count(self) -> int:
        """How many were sent since the last look; fails when one carries anything."""
        number = 0
        with Connection("memory://") as connection:
            waiting = connection.SimpleQueue("captiond", no_ack=True)
            with contextlib.suppress(queue.Empty):
                while True:
                    assert waiting.get(block=False).payload[:2] == [[], {}]
                    number += 1
        return number


def in_time(call: Callable[[], Result]) -> Result:
    """The result of a call that blocks for ever when it is broken; then it fails."""
    future: Future[Result] = Future()

    def run() -> None:
        try:
            future.set_result(call())
        except BaseException as error:
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return future.result(PATIENCE)


def eventually(true: Callable[[], object]) -> None:
    """Wait until a condition holds, and fail when it never does."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, "It did not come."
        time.sleep(0.005)
