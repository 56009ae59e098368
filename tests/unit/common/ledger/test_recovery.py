"""What silent workers held is taken back, postponed jobs wait again, what expired is said."""

from __future__ import annotations

import pytest
from redis import Redis
from redis.exceptions import OutOfMemoryError

from common.jobs import Status
from common.ledger import Components, Ledger, Recovered
from common.settings import Settings
from tests.support.clock import Clock
from tests.unit.common.ledger.jobs import claimed, recover, wait_in

NOTHING = Recovered()


class TestRecovery:
    def test_the_job_of_a_silent_worker_waits_again(self, ledger: Ledger, redis: Redis, clock: Clock) -> None:
        claim = claimed(ledger, wait_in(ledger))
        clock.advance(31)

        assert recover(ledger, redis) == Recovered(waiting=1)
        job = ledger.get(claim.id)
        assert (job.status, job.started_at, job.attempts) == (Status.QUEUED, None, 1)

    def test_a_heartbeat_keeps_the_lease(self, ledger: Ledger, redis: Redis, clock: Clock) -> None:
        claim = claimed(ledger, wait_in(ledger))
        clock.advance(20)
        assert ledger.extend([claim]) == []
        clock.advance(20)

        assert recover(ledger, redis) == NOTHING
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
            recover(ledger, redis)

        failed = ledger.get(job.id)
        assert (failed.status, failed.attempts) == (Status.FAILED, 3)
        assert failed.error and failed.error.type == "/problems/worker-lost"

    def test_a_job_handed_back_waits_at_once_and_its_attempt_does_not_count(self, ledger: Ledger, redis: Redis) -> None:
        claim = claimed(ledger, wait_in(ledger))
        assert ledger.release([claim]) == [claim.id]

        assert recover(ledger, redis) == Recovered(waiting=1)
        assert ledger.get(claim.id).attempts == 0

    def test_a_claim_that_was_lost_hands_nothing_back(self, ledger: Ledger) -> None:
        claim = claimed(ledger, wait_in(ledger))
        ledger.cancel(claim.id)

        assert ledger.release([claim]) == ledger.postpone([claim]) == []
        assert ledger.get(claim.id).status is Status.CANCELED

    def test_a_postponed_job_cannot_be_claimed_before_its_pause_is_over(
        self, ledger: Ledger, redis: Redis, clock: Clock
    ) -> None:
        claim = claimed(ledger, wait_in(ledger))
        ledger.postpone([claim])

        assert recover(ledger, redis) == NOTHING
        assert ledger.claim_next(1).claims == []
        clock.advance(1)
        assert recover(ledger, redis) == Recovered(waiting=1)
        assert [again.id for again in ledger.claim_next(1).claims] == [claim.id]

    def test_only_one_of_several_processes_recovers(self, ledger: Ledger) -> None:
        wait_in(ledger)

        assert [ledger.recover().waiting, ledger.recover().waiting] == [1, 0]

    def test_a_job_whose_time_is_over_is_named_until_it_is_deleted(
        self, ledger: Ledger, redis: Redis, clock: Clock
    ) -> None:
        job = wait_in(ledger)
        ledger.cancel(job.id)
        clock.advance(1001)

        assert recover(ledger, redis).expired == [job.id]
        ledger.delete(job.id)
        assert recover(ledger, redis) == NOTHING


class TestTrouble:
    def test_a_lease_from_before_the_clock_was_set_back_ends_all_the_same(
        self, ledger: Ledger, redis: Redis, clock: Clock
    ) -> None:
        claimed(ledger, wait_in(ledger))
        clock.advance(-3600)

        assert recover(ledger, redis) == NOTHING  # its worker may still live
        clock.advance(31)
        assert recover(ledger, redis).waiting == 1

    def test_a_pause_from_before_the_clock_was_set_back_ends_all_the_same(
        self, ledger: Ledger, redis: Redis, clock: Clock
    ) -> None:
        ledger.postpone([claimed(ledger, wait_in(ledger))])
        clock.advance(-3600)

        assert recover(ledger, redis).waiting == 1

    def test_a_full_memory_does_not_keep_what_expired(
        self, ledger: Ledger, redis: Redis, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = wait_in(ledger)
        clock.advance(1001)

        def full(*_: object, **__: object) -> None:
            raise OutOfMemoryError("OOM command not allowed")

        monkeypatch.setattr(redis, "set", full)

        assert ledger.recover().expired == [job.id]


def test_the_ledger_s_clock_is_the_one_of_redis(redis: Redis, settings: Settings) -> None:
    before = redis.time()
    job = wait_in(Components(redis, settings).ledger)
    after = redis.time()

    assert before[0] + before[1] / 1e6 <= job.created_at.timestamp() + 1e-6
    assert job.created_at.timestamp() <= after[0] + after[1] / 1e6 + 1e-6
