"""The task when a claim is lost: a job that was canceled, deleted or claimed by another worker is not overwritten."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from redis import Redis

from common.jobs import Job, Status
from common.ledger import Ledger
from common.uploads import UploadStore
from tests.support.clock import Clock
from tests.unit.worker.fakes import FakeCaptioner
from worker.runtime import WorkerRuntime

MakeJob = Callable[..., Job]
RunTask = Callable[..., None]


def test_a_job_canceled_while_it_is_loaded_is_not_captioned(
    runtime: WorkerRuntime,
    ledger: Ledger,
    captioner: FakeCaptioner,
    create_job: MakeJob,
    run_task: RunTask,
) -> None:
    def cancel() -> None:
        ledger.cancel(job.id)
        runtime.extend()  # as the lease thread does

    job = create_job()
    captioner.on_prepare = cancel
    run_task()

    assert captioner.calls == []
    assert ledger.get(job.id).status is Status.CANCELED


def test_a_job_canceled_while_it_is_captioned_stays_canceled(
    ledger: Ledger, captioner: FakeCaptioner, create_job: MakeJob, run_task: RunTask
) -> None:
    job = create_job()
    captioner.on_caption = lambda: ledger.cancel(job.id)
    run_task()

    canceled = ledger.get(job.id)
    assert (canceled.status, canceled.output) == (Status.CANCELED, None)


def test_a_job_deleted_while_it_is_captioned_leaves_nothing(
    ledger: Ledger,
    uploads: UploadStore,
    redis: Redis,
    captioner: FakeCaptioner,
    create_job: MakeJob,
    run_task: RunTask,
    tmp_path: Path,
) -> None:
    def delete() -> None:
        uploads.delete(job.id)
        ledger.delete(job.id)

    job = create_job()
    captioner.on_caption = delete
    run_task()

    assert captioner.calls == [1]
    assert set(redis.keys()) == {f"known:{job.id}", "metrics", "turn"}
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []


def test_a_job_claimed_by_another_worker_meanwhile_is_not_overwritten(
    ledger: Ledger,
    clock: Clock,
    captioner: FakeCaptioner,
    create_job: MakeJob,
    run_task: RunTask,
) -> None:
    def lose() -> None:
        clock.advance(31)
        ledger.recover()
        assert ledger.claim_suspect()

    job = create_job()
    captioner.on_caption = lose
    run_task()

    job_now = ledger.get(job.id)
    assert (job_now.status, job_now.attempts) == (Status.PROCESSING, 2)
