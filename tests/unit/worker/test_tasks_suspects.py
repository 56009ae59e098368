"""The task and suspects: a job whose worker was lost is captioned alone."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from redis import Redis

from common.jobs import Job, Status
from common.ledger import Ledger
from tests.support.claims import claim_job
from tests.support.clock import Clock
from tests.unit.worker.fakes import TIMEOUT, FakeCaptioner
from worker.runtime import WorkerRuntime

MakeJob = Callable[..., Job]
RunTask = Callable[..., None]


@pytest.fixture
def lose_worker(ledger: Ledger, clock: Clock, redis: Redis) -> RunTask:
    """Has a job claimed by another worker that is then lost."""

    def lose(job: Job) -> None:
        assert claim_job(ledger, job.id)
        clock.advance(31)
        redis.delete("recovering")  # its TTL follows the real clock
        ledger.recover()

    return lose


def test_a_suspect_is_captioned_alone(
    runtime: WorkerRuntime,
    ledger: Ledger,
    lose_worker: RunTask,
    captioner: FakeCaptioner,
    create_job: MakeJob,
    run_task: RunTask,
) -> None:
    suspect = create_job()
    lose_worker(suspect)
    other_jobs: list[Job] = []
    held: list[str] = []
    threads: list[threading.Thread] = []

    def try_to_join() -> None:
        held.extend(claim.id for claim in runtime.claims)
        if not threads:
            other_jobs.append(create_job())
            threads.append(threading.Thread(target=run_task))
            threads[0].start()
            time.sleep(0.1)  # long enough for the other job to start, if it could
            held.extend(claim.id for claim in runtime.claims)

    captioner.on_caption = try_to_join
    run_task()
    threads[0].join(TIMEOUT)

    assert held == [suspect.id, suspect.id, other_jobs[0].id]
    assert {job.status for job in ledger.read([suspect.id, other_jobs[0].id])} == {Status.SUCCEEDED}


def test_a_released_job_is_not_a_suspect(ledger: Ledger, create_job: MakeJob) -> None:
    job = create_job()
    claim = claim_job(ledger, job.id)
    assert claim and ledger.release([claim])

    assert ledger.claim_suspect() is None
    assert [claim_again.id for claim_again in ledger.claim_next(1).claims] == [job.id]


def test_other_jobs_are_captioned_before_a_suspect(
    ledger: Ledger,
    lose_worker: RunTask,
    captioner: FakeCaptioner,
    create_job: MakeJob,
    run_task: RunTask,
) -> None:
    suspect, *others = (create_job() for _ in range(3))
    lose_worker(suspect)
    run_task()

    done = ledger.read([*(job.id for job in others), suspect.id])
    assert [job.attempts for job in done] == [1, 1, 2]
    assert captioner.calls[-1] == 1 and sum(captioner.calls) == 3
