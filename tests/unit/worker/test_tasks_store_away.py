"""The task while the upload store is unavailable: jobs are retried later, without losing an attempt."""

from __future__ import annotations

from collections.abc import Callable

from redis import Redis

from common.jobs import Job, Status
from common.ledger import Ledger
from common.settings import Settings
from common.uploads import UploadStore
from tests.support.clock import Clock
from tests.support.images import drawing, encoded
from tests.unit.worker.fakes import FakeCaptioner

MakeJob = Callable[..., Job]
RunTask = Callable[..., None]


def test_a_job_is_retried_with_backoff_while_the_store_is_unavailable(
    ledger: Ledger,
    clock: Clock,
    redis: Redis,
    settings: Settings,
    captioner: FakeCaptioner,
    create_job: MakeJob,
    run_task: RunTask,
) -> None:
    job = create_job()
    store = settings.data / "uploads"
    store.rename(settings.data / "elsewhere")
    delays = []
    for _ in range(7):
        run_task()
        waiting = ledger.get(job.id)
        assert (waiting.status, waiting.attempts, waiting.error) == (Status.QUEUED, 0, None)
        delays.append(0)
        while not ledger.recover().waiting:
            clock.advance(1)
            redis.delete("recovering")  # its TTL follows the real clock
            delays[-1] += 1
    (settings.data / "elsewhere").rename(store)
    run_task()

    done = ledger.get(job.id)
    assert (done.status, done.attempts) == (Status.SUCCEEDED, 1)
    assert delays == [1, 2, 4, 8, 16, 30, 30]
    assert captioner.calls == [1]


def test_the_backoff_stays_bounded_after_thousands_of_postponements(
    ledger: Ledger,
    clock: Clock,
    redis: Redis,
    settings: Settings,
    create_job: MakeJob,
    run_task: RunTask,
) -> None:
    job = create_job()
    redis.hset(f"job:{job.id}", "_postponed", 2000)
    (settings.data / "uploads").rename(settings.data / "elsewhere")
    run_task()
    clock.advance(30)

    assert ledger.recover().waiting == {"": 1}
    assert ledger.get(job.id).status is Status.QUEUED


def test_a_truncated_image_is_not_captioned(
    ledger: Ledger,
    uploads: UploadStore,
    settings: Settings,
    create_job: MakeJob,
    run_task: RunTask,
) -> None:
    data = encoded(drawing(), "PNG")
    job = create_job(data)
    uploads.save(job.id, data[: len(data) // 2])
    run_task()

    assert ledger.get(job.id).status is Status.QUEUED
