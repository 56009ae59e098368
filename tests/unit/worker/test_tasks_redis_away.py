"""A worker sits an outage of Redis out: a result that cost a model call is written when it is back."""

from __future__ import annotations

import logging
from collections.abc import Callable
from types import SimpleNamespace

import fakeredis
import pytest

from common.jobs import Job, Status
from common.ledger import Ledger
from tests.unit.worker.fakes import FakeCaptioner
from worker import tasks
from worker.runtime import WorkerRuntime

MakeJob = Callable[..., Job]
Answer = Callable[[], None]


@pytest.fixture
def pauses(server: fakeredis.FakeServer, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pauses before another try to write; Redis is back after the hundredth, well past the lease."""
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        server.connected = len(pauses) >= 100

    monkeypatch.setattr(tasks, "time", SimpleNamespace(sleep=sleep))
    return pauses


def test_a_notification_at_which_nothing_can_be_claimed_is_left_to_the_recovery(
    ledger: Ledger,
    server: fakeredis.FakeServer,
    wait_in: MakeJob,
    answer: Answer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    job = wait_in()
    server.connected = False
    answer()
    server.connected = True

    assert ledger.get(job.id).status is Status.QUEUED
    assert "what waits is claimed when it is back" in caplog.text


@pytest.mark.parametrize("stumbles", [False, True])
def test_a_caption_or_a_failure_is_written_when_redis_is_back(
    ledger: Ledger,
    server: fakeredis.FakeServer,
    captioner: FakeCaptioner,
    runtime: WorkerRuntime,
    wait_in: MakeJob,
    answer: Answer,
    pauses: list[float],
    stumbles: bool,
) -> None:
    def leave() -> None:
        server.connected = False
        if stumbles:
            raise ValueError

    captioner.at_caption = leave
    job = wait_in()
    answer()

    assert ledger.get(job.id).status is (Status.FAILED if stumbles else Status.SUCCEEDED)
    assert pauses == [tasks.WRITE_PAUSE] * 100
    assert captioner.calls == [1]
    assert runtime.held() == []


def test_a_worker_that_stops_leaves_what_it_cannot_write_to_the_lease(
    runtime: WorkerRuntime,
    ledger: Ledger,
    server: fakeredis.FakeServer,
    captioner: FakeCaptioner,
    wait_in: MakeJob,
    answer: Answer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def leave() -> None:
        server.connected = False
        runtime.stopping.set()

    captioner.at_caption = leave
    job = wait_in()
    with caplog.at_level(logging.WARNING):
        answer()
    server.connected = True

    assert ledger.get(job.id).status is Status.PROCESSING
    assert "Redis does not answer" in caplog.text


def test_a_job_that_cannot_be_handed_back_is_left_to_its_lease(
    runtime: WorkerRuntime,
    ledger: Ledger,
    server: fakeredis.FakeServer,
    captioner: FakeCaptioner,
    wait_in: MakeJob,
    answer: Answer,
    caplog: pytest.LogCaptureFixture,
) -> None:
    runtime.batcher.close()

    def leave() -> None:
        server.connected = False

    captioner.at_prepare = leave
    job = wait_in()
    with caplog.at_level(logging.WARNING):
        answer()
    server.connected = True

    assert ledger.get(job.id).status is Status.PROCESSING
    assert "Redis does not answer" in caplog.text
