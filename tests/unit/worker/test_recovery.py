"""Nothing is forgotten: lost notifications, silent workers, expired pictures."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis

from common import problems
from common.jobs import Job, Status
from common.ledger import Ledger
from common.problems import Problem
from common.uploads import UploadStore, UploadsUnavailable
from tests.support.claims import claim_job
from tests.support.clock import Clock
from worker.recovery import TRY_AGAIN, recover_once

Recover = Callable[[], list[int]]


@pytest.fixture
def recover(ledger: Ledger, uploads: UploadStore, redis: Redis) -> Recover:
    """One recovery; of how many waiting jobs it notified."""

    def once() -> list[int]:
        redis.delete("recovering")  # its expiry follows the real clock
        notified: list[int] = []
        recover_once(ledger, uploads, notified.append)
        return notified

    return once


class TestNotifications:
    def test_workers_are_notified_of_the_jobs_that_wait(self, wait_in: Callable[..., Job], recover: Recover) -> None:
        for _ in range(3):
            wait_in()

        assert recover() == [3]

    def test_without_waiting_jobs_nobody_is_notified(
        self, ledger: Ledger, wait_in: Callable[..., Job], recover: Recover
    ) -> None:
        wait_in()
        ledger.claim_next(1)

        assert recover() == []

    def test_the_job_of_a_silent_worker_waits_and_is_notified_of(
        self, ledger: Ledger, wait_in: Callable[..., Job], clock: Clock, recover: Recover
    ) -> None:
        job = wait_in()
        ledger.claim_next(1)
        clock.advance(31)

        assert recover() == [1]
        assert ledger.get(job.id).status is Status.QUEUED

    def test_a_job_that_is_worked_on_is_left_alone(
        self, ledger: Ledger, wait_in: Callable[..., Job], clock: Clock, recover: Recover
    ) -> None:
        job = wait_in()
        ledger.claim_next(1)
        clock.advance(29)

        assert recover() == []
        assert ledger.get(job.id).status is Status.PROCESSING

    def test_a_job_that_ends_every_worker_fails_and_is_not_notified_of(
        self, ledger: Ledger, wait_in: Callable[..., Job], clock: Clock, recover: Recover
    ) -> None:
        job = wait_in()
        for _ in range(3):
            assert claim_job(ledger, job.id)
            clock.advance(31)
            notified = recover()

        failed = ledger.get(job.id)
        assert notified == []
        assert failed.error and failed.error.type == problems.WORKER_LOST.type


class TestExpiry:
    def test_record_and_picture_are_deleted_when_their_time_is_over(
        self, ledger: Ledger, uploads: UploadStore, wait_in: Callable[..., Job], clock: Clock, recover: Recover
    ) -> None:
        job = wait_in()
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

    def test_a_record_whose_picture_is_gone_already_is_deleted_too(
        self, ledger: Ledger, wait_in: Callable[..., Job], clock: Clock, recover: Recover
    ) -> None:
        job = wait_in(None)
        clock.advance(1000)
        recover()

        assert ledger.read([job.id]) == []

    def test_a_picture_that_cannot_be_deleted_stops_no_other(
        self,
        ledger: Ledger,
        uploads: UploadStore,
        wait_in: Callable[..., Job],
        clock: Clock,
        recover: Recover,
        monkeypatch: pytest.MonkeyPatch,
        tmp_path: Path,
    ) -> None:
        stuck, other = wait_in(), wait_in()
        delete = uploads.delete

        def refuse(job_id: str) -> None:
            if job_id == stuck.id:
                raise UploadsUnavailable
            delete(job_id)

        monkeypatch.setattr(uploads, "delete", refuse)
        clock.advance(1000)
        recover()

        assert ledger.get(stuck.id).id == stuck.id
        with pytest.raises(Problem):
            ledger.get(other.id)
        monkeypatch.undo()
        clock.advance(TRY_AGAIN + 1)
        recover()
        with pytest.raises(Problem):
            ledger.get(stuck.id)
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
