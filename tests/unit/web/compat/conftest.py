"""Fixtures of the tests of other software's protocols."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator

import pytest

from common.jobs import Status
from common.ledger import Ledger


@pytest.fixture
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let requests not wait for captions."""
    monkeypatch.setattr("web.compat.captioning.WAIT_SECONDS", 0)


@pytest.fixture
def worker(ledger: Ledger, caption: Callable[[str, str], None]) -> Iterator[None]:
    """Captions each queued job as `a red ball`."""
    stopping = threading.Event()

    def work() -> None:
        while not stopping.wait(0.01):
            if job := ledger.oldest(Status.QUEUED):
                caption(job.id, "a red ball")

    thread = threading.Thread(target=work)
    thread.start()
    yield
    stopping.set()
    thread.join()
