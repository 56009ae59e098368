"""Fixtures of the tests of other software's protocols."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from common.jobs import Status
from common.ledger import Ledger


@pytest.fixture
def no_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let requests not wait for captions."""
    monkeypatch.setattr("web.compat.captioning.WAIT_SECONDS", 0)


@pytest.fixture
def working(ledger: Ledger) -> Callable[[Callable[[str], object]], AbstractContextManager[None]]:
    """Calls a function with the id of each queued job, in a thread."""

    @contextmanager
    def run(end: Callable[[str], object]) -> Iterator[None]:
        stopping = threading.Event()

        def work() -> None:
            while not stopping.wait(0.01):
                if job := ledger.oldest(Status.QUEUED):
                    end(job.id)

        thread = threading.Thread(target=work)
        thread.start()
        yield
        stopping.set()
        thread.join()

    return run


@pytest.fixture
def worker(working: Callable[..., AbstractContextManager[None]], caption: Callable[[str, str], None]) -> Iterator[None]:
    """Captions each queued job as `a red ball`."""
    with working(lambda job_id: caption(job_id, "a red ball")):
        yield
