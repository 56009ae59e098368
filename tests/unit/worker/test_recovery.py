"""Recovery by the worker: repeated notifications, lost workers, expired images."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis

from common import problems
from common.jobs import BatchStatus, Job, Status, new_id
from common.ledger import Components, Ledger, NewBatch
from common.problems import Problem
from common.uploads import UploadStore, UploadsUnavailable
from tests.support.claims import claim_job
from tests.support.clock import Clock
from worker.recovery import DELETE_RETRY_DELAY, recover_once

Recover = Callable[[], list[tuple[int, str]]]


@pytest.fixture
def recover(ledger: Ledger, components: Components, uploads: UploadStore, redis: Redis) -> Recover:
    """Runs one recovery; returns the numbers of waiting jobs and their models passed to `notify`."""

    def once() -> list[tuple[int, str]]:
        redis.delete("recovering")  # its TTL follows the real clock
        notified: list[tuple[int, str]] = []
        recover_once(
            ledger, components.batches, uploads, lambda *waiting: notified.append(waiting), components.counters
        )
        return notified

    return once


class TestNotifications:
    def test_workers_are_notified_of_waiting_jobs(self, create_job: Callable[..., Job], recover: Recover) -> None:
        for _ in range(3):
            create_job()

        assert recover() == [(3, "")]

    def test_without_waiting_jobs_no_notification_is_sent(
        self, ledger: Ledger, create_job: Callable[..., Job], recover: Recover
    ) -> None:
        create_job()
        ledger.claim_next(1)

        assert recover() == []

    def test_the_job_of_a_lost_worker_is_requeued_and_notified(
        self, ledger: Ledger, create_job: Callable[..., Job], clock: Clock, recover: Recover
    ) -> None:
        job = create_job()
        ledger.claim_next(1)
        clock.advance(31)

        assert recover() == [(1, "")]
        assert ledger.get(job.id).status is Status.QUEUED

    def test_a_job_in_progress_is_not_requeued(
        self, ledger: Ledger, create_job: Callable[..., Job], clock: Clock, recover: Recover
    ) -> None:
        job = create_job()
        ledger.claim_next(1)
        clock.advance(29)

        assert recover() == []
        assert ledger.get(job.id).status is Status.PROCESSING

    def test_a_job_that_crashes_every_worker_fails_without_notification(
        self, ledger: Ledger, create_job: Callable[..., Job], clock: Clock, recover: Recover
    ) -> None:
        job = create_job()
        for _ in range(3):
            assert claim_job(ledger, job.id)
            clock.advance(31)
            notified = recover()

        failed = ledger.get(job.id)
        assert notified == []
        assert failed.error and failed.error.type == problems.WORKER_LOST.type


class TestDeadlines:
    def test_a_batch_is_canceled_when_its_cancel_after_has_passed(
        self, ledger: Ledger, components: Components, create_job: Callable[..., Job], clock: Clock, recover: Recover
    ) -> None:
        batches = components.batches
        batches.create(batch := new_id(), NewBatch(cancel_after=90))
        job = create_job(batch=batch)
        clock.advance(89)
        recover()
        before = ledger.get(job.id).status
        clock.advance(1)
        recover()

        assert before is Status.QUEUED
        canceled, error = batches.get(batch), ledger.get(job.id).error
        assert canceled.status is BatchStatus.CANCELED
        assert canceled.canceled_reason and "`Cancel-After`" in canceled.canceled_reason
        assert error and error.type == problems.DEADLINE_EXCEEDED.type

    def test_a_cancellation_that_was_interrupted_is_completed(
        self, components: Components, ledger: Ledger, create_job: Callable[..., Job], recover: Recover
    ) -> None:
        batches = components.batches
        batches.create(batch := new_id())
        job = create_job(batch=batch)
        batches._scripts.seal(args=[batches._script_time(), batch, "A client wanted it."])  # and then it was killed
        recover()

        assert (batches.get(batch).status, batches.get(batch).canceled_reason) == ("canceled", "A client wanted it.")
        assert (ledger.get(job.id).status, ledger.get(job.id).error) == (Status.CANCELED, None)

    def test_a_batch_that_has_ended_in_time_stays_completed(
        self, components: Components, clock: Clock, recover: Recover
    ) -> None:
        batches = components.batches
        batches.create(batch := new_id(), NewBatch(cancel_after=90))
        batches.seal(batch)
        clock.advance(90)
        recover()

        assert (batches.get(batch).status, batches.get(batch).canceled_reason) == (BatchStatus.COMPLETED, None)


class TestExpiry:
    def test_an_expired_job_s_record_and_image_are_deleted(
        self, ledger: Ledger, uploads: UploadStore, create_job: Callable[..., Job], clock: Clock, recover: Recover
    ) -> None:
        job = create_job()
        clock.advance(999)
        recover()
        kept = uploads.load(job.id)
        clock.advance(1)
        recover()

        assert kept
        with pytest.raises(Problem) as gone:
            ledger.get(job.id)
        with pytest.raises(Problem) as lost:
            uploads.load(job.id)
        assert (gone.value.kind, lost.value.kind) == (problems.JOB_GONE, problems.UPLOAD_LOST)

    def test_an_expired_record_without_image_is_deleted(
        self, ledger: Ledger, create_job: Callable[..., Job], clock: Clock, recover: Recover
    ) -> None:
        job = create_job(None)
        clock.advance(1000)
        recover()

        assert ledger.read([job.id]) == []

    def test_a_failed_image_deletion_does_not_stop_other_deletions(
        self,
        ledger: Ledger,
        uploads: UploadStore,
        create_job: Callable[..., Job],
        clock: Clock,
        recover: Recover,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        stuck, other = create_job(), create_job()
        delete = uploads.delete

        def fail_to_delete(job_id: str) -> None:
            if job_id == stuck.id:
                raise UploadsUnavailable
            delete(job_id)

        monkeypatch.setattr(uploads, "delete", fail_to_delete)
        clock.advance(1000)
        recover()

        assert ledger.get(stuck.id).id == stuck.id
        with pytest.raises(Problem):
            ledger.get(other.id)
        monkeypatch.undo()
        clock.advance(DELETE_RETRY_DELAY + 1)
        recover()
        with pytest.raises(Problem):
            ledger.get(stuck.id)
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
