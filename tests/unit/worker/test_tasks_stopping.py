"""The task of a worker that stops: jobs go back to the queue, and another worker is notified."""

from __future__ import annotations

from collections.abc import Callable

from common.jobs import Job, Status
from common.ledger import Ledger
from tests.unit.worker.fakes import MODEL, FakeCaptioner, Notifications, with_timeout
from worker.runtime import WorkerRuntime

MakeJob = Callable[..., Job]
RunTask = Callable[..., None]


def test_a_stopping_worker_releases_unstarted_jobs(
    runtime: WorkerRuntime,
    ledger: Ledger,
    captioner: FakeCaptioner,
    notifications: Notifications,
    create_job: MakeJob,
    run_task: RunTask,
) -> None:
    first, second = create_job(), create_job()
    captioner.on_prepare = runtime.stopping.set
    run_task()

    assert [job.status for job in ledger.read([first.id, second.id])] == [Status.SUCCEEDED, Status.QUEUED]
    assert notifications.count() == 1


def test_a_stopping_worker_claims_nothing_and_notifies_another(
    runtime: WorkerRuntime,
    ledger: Ledger,
    notifications: Notifications,
    create_job: MakeJob,
    run_task: RunTask,
) -> None:
    runtime.stopping.set()
    job = create_job()
    run_task()

    waiting = ledger.get(job.id)
    assert (waiting.status, waiting.attempts) == (Status.QUEUED, 0)
    assert [notifications.count(), notifications.count(MODEL.name)] == [1, 1]  # either may have been received


def test_a_job_is_released_when_the_batcher_is_closed(
    runtime: WorkerRuntime,
    ledger: Ledger,
    notifications: Notifications,
    create_job: MakeJob,
    run_task: RunTask,
) -> None:
    with_timeout(runtime.batcher.close)
    job = create_job()
    run_task()

    waiting = ledger.get(job.id)
    assert (waiting.status, waiting.attempts) == (Status.QUEUED, 0)
    assert notifications.count() == 1
