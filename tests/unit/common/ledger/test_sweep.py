"""What silent workers held is taken back, lost bells are rung again, what expired is said."""

from __future__ import annotations

import pytest
from redis import Redis
from redis.exceptions import OutOfMemoryError

from common.jobs import Status
from common.ledger import Ledger
from common.settings import Settings
from tests.support.clock import Clock
from tests.unit.common.ledger.jobs import claimed, sweep, wait_in


class TestSweep:
    def test_the_job_of_a_silent_worker_waits_again(self, ledger: Ledger, redis: Redis, clock: Clock) -> None:
        claim = claimed(ledger, wait_in(ledger))
        clock.advance(31)

        ring, _ = sweep(ledger, redis)

        assert ring == [claim.id]
        assert ledger.get(claim.id).status is Status.QUEUED

    def test_a_heartbeat_keeps_the_lease(self, ledger: Ledger, redis: Redis, clock: Clock) -> None:
        claim = claimed(ledger, wait_in(ledger))
        clock.advance(20)
        assert ledger.extend([claim]) == []
        clock.advance(20)

        assert sweep(ledger, redis) == ([], [])
        assert ledger.get(claim.id).status is Status.PROCESSING

    def test_a_heartbeat_names_the_claims_that_were_lost(self, ledger: Ledger) -> None:
        kept, lost = (claimed(ledger, wait_in(ledger)) for _ in range(2))
        ledger.cancel(lost.id)

        assert ledger.extend([kept, lost]) == [lost]

    def test_a_picture_that_kills_its_workers_fails_in_the_end(
        self, ledger: Ledger, redis: Redis, clock: Clock
    ) -> None:
        job = wait_in(ledger)
        for _ in range(3):
            claimed(ledger, job)
            clock.advance(31)
            sweep(ledger, redis)

        failed = ledger.get(job.id)
        assert (failed.status, failed.attempts) == (Status.FAILED, 3)
        assert failed.error and failed.error.type == "/problems/worker-lost"

    def test_a_job_whose_bell_was_lost_is_rung_again_less_and_less_often(
        self, ledger: Ledger, redis: Redis, clock: Clock
    ) -> None:
        job = wait_in(ledger)
        rung = []
        for second in range(75):
            if sweep(ledger, redis)[0] == [job.id]:
                rung.append(second)
            clock.advance(1)

        assert rung == [10, 30, 70]

    def test_a_job_handed_back_is_rung_at_once_and_its_attempt_does_not_count(
        self, ledger: Ledger, redis: Redis
    ) -> None:
        claim = claimed(ledger, wait_in(ledger))
        assert ledger.release(claim)

        assert sweep(ledger, redis) == ([claim.id], [])
        assert ledger.get(claim.id).attempts == 0

    def test_only_one_of_several_sweepers_sweeps(self, ledger: Ledger, clock: Clock) -> None:
        wait_in(ledger)
        clock.advance(11)

        assert [len(ledger.sweep().ring), len(ledger.sweep().ring)] == [1, 0]

    def test_a_job_whose_time_is_over_is_named_until_it_is_deleted(
        self, ledger: Ledger, redis: Redis, clock: Clock
    ) -> None:
        job = wait_in(ledger)
        ledger.cancel(job.id)
        clock.advance(1001)

        assert sweep(ledger, redis)[1] == [job.id]
        ledger.delete(job.id)
        assert sweep(ledger, redis)[1] == []


class TestTrouble:
    def test_a_lease_from_before_the_clock_was_set_back_ends_all_the_same(
        self, ledger: Ledger, redis: Redis, clock: Clock
    ) -> None:
        claim = claimed(ledger, wait_in(ledger))
        clock.advance(-3600)

        assert sweep(ledger, redis) == ([], [])  # its worker may still live
        clock.advance(31)
        assert sweep(ledger, redis) == ([claim.id], [])

    def test_a_bell_from_before_the_clock_was_set_back_is_rung_again(
        self, ledger: Ledger, redis: Redis, clock: Clock
    ) -> None:
        job = wait_in(ledger)
        clock.advance(-3600)

        assert sweep(ledger, redis) == ([job.id], [])
        assert sweep(ledger, redis) == ([], [])

    def test_a_full_memory_does_not_keep_what_expired(
        self, ledger: Ledger, redis: Redis, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = wait_in(ledger)
        clock.advance(1001)

        def full(*_: object, **__: object) -> None:
            raise OutOfMemoryError("OOM command not allowed")

        monkeypatch.setattr(redis, "set", full)

        assert ledger.sweep().expired == [job.id]


def test_the_ledger_s_clock_is_the_one_of_redis(
    redis: Redis, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redis, "time", lambda: (1_000, 250_000))

    assert wait_in(Ledger(redis, settings)).created_at.timestamp() == 1000.25
