"""The Celery task during a Redis outage: results are written when Redis is back."""

from __future__ import annotations

import logging
import time
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
RunTask = Callable[[], None]


@pytest.fixture
def delays(server: fakeredis.FakeServer, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The delays between write attempts. Redis is back after the hundredth, after the lease has ended."""
    delays: list[float] = []

    def sleep(seconds: float) -> None:
        delays.append(seconds)
        server.connected = len(delays) >= 100

    monkeypatch.setattr(tasks, "time", SimpleNamespace(sleep=sleep, monotonic=time.monotonic))
    return delays


def test_a_job_stays_queued_when_redis_is_unavailable_at_its_notification(
    ledger: Ledger,
    server: fakeredis.FakeServer,
    create_job: MakeJob,
    run_task: RunTask,
    caplog: pytest.LogCaptureFixture,
) -> None:
    job = create_job()
    server.connected = False
    run_task()
    server.connected = True

    assert ledger.get(job.id).status is Status.QUEUED
    assert "waiting jobs are claimed when it is back" in caplog.text


@pytest.mark.parametrize("fails", [False, True])
def test_a_result_is_written_when_redis_is_back(
    ledger: Ledger,
    server: fakeredis.FakeServer,
    captioner: FakeCaptioner,
    runtime: WorkerRuntime,
    create_job: MakeJob,
    run_task: RunTask,
    delays: list[float],
    fails: bool,
) -> None:
    def disconnect_redis() -> None:
        server.connected = False
        if fails:
            raise ValueError

    captioner.on_caption = disconnect_redis
    job = create_job()
    run_task()

    assert ledger.get(job.id).status is (Status.FAILED if fails else Status.SUCCEEDED)
    assert delays == [tasks.WRITE_RETRY_DELAY] * 100
    assert captioner.calls == [1]
    assert list(runtime.claims) == []


def test_a_stopping_worker_does_not_wait_for_redis(
    runtime: WorkerRuntime,
    ledger: Ledger,
    server: fakeredis.FakeServer,
    captioner: FakeCaptioner,
    create_job: MakeJob,
    run_task: RunTask,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def disconnect_redis() -> None:
        server.connected = False
        runtime.stopping.set()

    captioner.on_caption = disconnect_redis
    job = create_job()
    with caplog.at_level(logging.WARNING):
        run_task()
    server.connected = True

    assert ledger.get(job.id).status is Status.PROCESSING
    assert "Redis does not answer" in caplog.text


def test_a_job_that_cannot_be_released_stays_leased(
    runtime: WorkerRuntime,
    ledger: Ledger,
    server: fakeredis.FakeServer,
    captioner: FakeCaptioner,
    create_job: MakeJob,
    run_task: RunTask,
    caplog: pytest.LogCaptureFixture,
) -> None:
    runtime.batcher.close()

    def disconnect_redis() -> None:
        server.connected = False

    captioner.on_prepare = disconnect_redis
    job = create_job()
    with caplog.at_level(logging.WARNING):
        run_task()
    server.connected = True

    assert ledger.get(job.id).status is Status.PROCESSING
    assert "Redis does not answer" in caplog.text
