"""Nothing is forgotten: lost bells, silent workers, expired pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

import pytest
from redis import Redis

from common import problems
from common.jobs import Job, Status
from common.ledger import Ledger
from common.problems import Problem
from common.uploads import UploadStore, UploadsUnavailable
from tests.support.clock import Clock
from worker.sweeper import TRY_AGAIN, sweep_once

Sweep = Callable[[], list[Sequence[str]]]


@pytest.fixture
def broker() -> SimpleNamespace:
    """`here = False` takes it away."""
    return SimpleNamespace(here=True)


@pytest.fixture
def sweep(ledger: Ledger, uploads: UploadStore, redis: Redis, broker: SimpleNamespace) -> Sweep:
    """One sweep; what was rung for in it."""

    def once() -> list[Sequence[str]]:
        redis.delete("sweeping")  # its expiry follows the real clock
        rung: list[Sequence[str]] = []

        def ring(job_ids: Sequence[str]) -> bool:
            rung.append(job_ids)
            return bool(broker.here)

        sweep_once(ledger, uploads, ring)
        return rung

    return once


class TestBells:
    def test_a_lost_bell_is_rung_again(self, wait_in: Callable[..., Job], clock: Clock, sweep: Sweep) -> None:
        job = wait_in()
        clock.advance(10)

        assert sweep() == [[job.id]]

    def test_a_young_bell_may_still_be_heard(self, wait_in: Callable[..., Job], clock: Clock, sweep: Sweep) -> None:
        wait_in()
        clock.advance(9)

        assert sweep() == []

    def test_a_bell_that_could_not_be_rung_is_tried_every_ten_seconds(
        self, wait_in: Callable[..., Job], clock: Clock, sweep: Sweep, broker: SimpleNamespace
    ) -> None:
        wait_in()
        broker.here = False
        rung = []
        for second in range(61):
            if sweep():
                rung.append(second)
            clock.advance(1)

        assert rung == [10, 20, 30, 40, 50, 60]

    def test_the_job_of_a_silent_worker_waits_and_is_rung_for(
        self, ledger: Ledger, wait_in: Callable[..., Job], clock: Clock, sweep: Sweep
    ) -> None:
        job = wait_in()
        ledger.claim(job.id)
        clock.advance(31)

        assert sweep() == [[job.id]]
        assert ledger.get(job.id).status is Status.QUEUED

    def test_a_job_that_is_worked_on_is_left_alone(
        self, ledger: Ledger, wait_in: Callable[..., Job], clock: Clock, sweep: Sweep
    ) -> None:
        job = wait_in()
        ledger.claim(job.id)
        clock.advance(29)

        assert sweep() == []
        assert ledger.get(job.id).status is Status.PROCESSING

    def test_a_job_that_ends_every_worker_fails_and_is_not_rung_for(
        self, ledger: Ledger, wait_in: Callable[..., Job], clock: Clock, sweep: Sweep
    ) -> None:
        job = wait_in()
        for _ in range(3):
            assert ledger.claim(job.id)
            clock.advance(31)
            rung = sweep()

        failed = ledger.get(job.id)
        assert rung == []
        assert failed.error and failed.error.type == problems.WORKER_LOST.type


class TestExpiry:
    def test_record_and_picture_are_deleted_when_their_time_is_over(
        self, ledger: Ledger, uploads: UploadStore, wait_in: Callable[..., Job], clock: Clock, sweep: Sweep
    ) -> None:
        job = wait_in()
        clock.advance(999)
        sweep()
        kept = uploads.load(job.id)
        clock.advance(1)
        sweep()

        assert kept
        with pytest.raises(Problem) as gone:
            ledger.get(job.id)
        with pytest.raises(Problem) as lost:
            uploads.load(job.id)
        assert (gone.value.kind, lost.value.kind) == (problems.JOB_GONE, problems.UPLOAD_LOST)

    def test_a_record_whose_picture_is_gone_already_is_deleted_too(
        self, ledger: Ledger, wait_in: Callable[..., Job], clock: Clock, sweep: Sweep
    ) -> None:
        job = wait_in(None)
        clock.advance(1000)
        sweep()

        assert ledger.read([job.id]) == []

    def test_a_picture_that_cannot_be_deleted_stops_no_other(
        self,
        ledger: Ledger,
        uploads: UploadStore,
        wait_in: Callable[..., Job],
        clock: Clock,
        sweep: Sweep,
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
        sweep()

        assert ledger.get(stuck.id).id == stuck.id
        with pytest.raises(Problem):
            ledger.get(other.id)
        monkeypatch.undo()
        clock.advance(TRY_AGAIN + 1)
        sweep()
        with pytest.raises(Problem):
            ledger.get(stuck.id)
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
