"""The task while the model cannot be loaded: jobs are retried later, without losing an attempt."""

from __future__ import annotations

from collections.abc import Callable

from redis import Redis

from captioning.captioner import ModelUnavailable
from common.jobs import Job, Status
from common.ledger import Ledger
from common.queue import CLAIM_SIZE
from common.translation import Message
from tests.support.clock import Clock
from tests.unit.worker.fakes import FakeCaptioner

MakeJob = Callable[..., Job]
RunTask = Callable[..., None]


def cannot_be_loaded() -> None:
    raise ModelUnavailable(Message("The model cannot be loaded."))


def test_a_job_is_captioned_when_the_model_can_be_loaded_again(
    ledger: Ledger,
    clock: Clock,
    redis: Redis,
    captioner: FakeCaptioner,
    create_job: MakeJob,
    run_task: RunTask,
) -> None:
    job = create_job()
    captioner.on_prepare = cannot_be_loaded
    for _ in range(5):
        run_task()
        clock.advance(30)
        redis.delete("recovering")  # its TTL follows the real clock
        ledger.recover()
    waiting = ledger.get(job.id)
    captioner.on_prepare = lambda: None
    run_task()

    done = ledger.get(job.id)
    assert (waiting.status, waiting.attempts, waiting.error) == (Status.QUEUED, 0, None)
    assert (done.status, done.attempts) == (Status.SUCCEEDED, 1)


def test_no_further_jobs_are_claimed_while_the_model_cannot_be_loaded(
    ledger: Ledger, captioner: FakeCaptioner, create_job: MakeJob, run_task: RunTask
) -> None:
    attempts: list[None] = []

    def cannot_be_loaded_counted() -> None:
        attempts.append(None)
        raise ModelUnavailable(Message("The model cannot be loaded."))

    for _ in range(20):
        create_job()
    captioner.on_prepare = cannot_be_loaded_counted
    run_task()

    assert len(attempts) == CLAIM_SIZE
