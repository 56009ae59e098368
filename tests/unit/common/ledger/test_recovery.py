"""Recovery: jobs of lost workers are requeued, postponed jobs return, expired jobs are reported."""

from __future__ import annotations

import pytest
from redis import Redis
from redis.exceptions import OutOfMemoryError

from common.jobs import Status, new_id
from common.ledger import Components, Ledger, NewBatch, RecoveryResult
from common.settings import Settings
from tests.support.claims import commit
from tests.support.clock import Clock
from tests.unit.common.ledger.jobs import CAPTION, MODEL, TIMINGS, create_job, must_claim, recover

EMPTY = RecoveryResult()


class TestRecovery:
    def test_a_job_of_a_lost_worker_is_requeued(self, ledger: Ledger, redis: Redis, clock: Clock) -> None:
        claim = must_claim(ledger, create_job(ledger))
        clock.advance(31)

        assert recover(ledger, redis) == RecoveryResult({"": 1})
        job = ledger.get(claim.id)
        assert (job.status, job.started_at, job.attempts) == (Status.QUEUED, None, 1)

    def test_an_extended_lease_does_not_expire(self, ledger: Ledger, redis: Redis, clock: Clock) -> None:
        claim = must_claim(ledger, create_job(ledger))
        clock.advance(20)
        assert ledger.extend([claim]) == []
        clock.advance(20)

        assert recover(ledger, redis) == EMPTY
        assert ledger.get(claim.id).status is Status.PROCESSING

    def test_extend_returns_the_lost_claims(self, ledger: Ledger) -> None:
        kept, lost = (must_claim(ledger, create_job(ledger)) for _ in range(2))
        ledger.cancel(lost.id)

        assert ledger.extend([kept, lost]) == [lost]

    def test_an_image_that_kills_its_workers_fails_after_max_attempts(
        self, ledger: Ledger, redis: Redis, clock: Clock
    ) -> None:
        job = create_job(ledger)
        for _ in range(3):
            must_claim(ledger, job)
            clock.advance(31)
            recover(ledger, redis)

        failed = ledger.get(job.id)
        assert (failed.status, failed.attempts) == (Status.FAILED, 3)
        assert failed.error and failed.error.type == "/problems/worker-lost"

    def test_a_released_job_waits_at_once_without_counting_the_attempt(self, ledger: Ledger, redis: Redis) -> None:
        claim = must_claim(ledger, create_job(ledger))
        assert ledger.release([claim]) == [claim.id]

        assert recover(ledger, redis) == RecoveryResult({"": 1})
        assert ledger.get(claim.id).attempts == 0

    def test_a_lost_claim_cannot_be_released(self, ledger: Ledger) -> None:
        claim = must_claim(ledger, create_job(ledger))
        ledger.cancel(claim.id)

        assert ledger.release([claim]) == ledger.postpone([claim]) == []
        assert ledger.get(claim.id).status is Status.CANCELED

    def test_a_postponed_job_cannot_be_claimed_before_its_delay_ends(
        self, ledger: Ledger, redis: Redis, clock: Clock
    ) -> None:
        claim = must_claim(ledger, create_job(ledger))
        ledger.postpone([claim])

        assert recover(ledger, redis) == EMPTY
        assert ledger.claim_next(1).claims == []
        clock.advance(1)
        assert recover(ledger, redis) == RecoveryResult({"": 1})
        assert [claim_again.id for claim_again in ledger.claim_next(1).claims] == [claim.id]

    def test_only_one_process_recovers_at_a_time(self, ledger: Ledger) -> None:
        create_job(ledger)

        assert [ledger.recover().waiting, ledger.recover().waiting] == [{"": 1}, {}]

    def test_a_job_is_canceled_when_its_cancel_after_has_passed(
        self, ledger: Ledger, redis: Redis, clock: Clock
    ) -> None:
        waiting, running, done, later = (create_job(ledger, cancel_after=seconds).id for seconds in (10, 10, 10, 60))
        claims = {claim.id: claim for claim in ledger.claim_next(3).claims}
        commit(ledger, claims[done], CAPTION, model=MODEL, timings=TIMINGS)
        ledger.release([claims[waiting]])
        clock.advance(9)
        recover(ledger, redis)
        before = {ledger.get(job_id).status for job_id in (waiting, running)}
        clock.advance(1)
        recover(ledger, redis)

        assert before == {Status.QUEUED, Status.PROCESSING}
        statuses = [ledger.get(job_id).status for job_id in (waiting, running, done, later)]
        assert statuses == [Status.CANCELED, Status.CANCELED, Status.SUCCEEDED, Status.QUEUED]
        error = ledger.get(waiting).error
        assert error and error.type == "/problems/deadline-exceeded"
        assert redis.zrange("deadlines", 0, -1) == [later]
        assert not commit(ledger, claims[running], CAPTION, model=MODEL, timings=TIMINGS)

    def test_a_batch_is_reported_when_its_cancel_after_has_passed_until_it_is_canceled(
        self, ledger: Ledger, components: Components, redis: Redis, clock: Clock
    ) -> None:
        components.batches.create(batch := new_id(), NewBatch(cancel_after=10))
        before = recover(ledger, redis).overdue_batches
        clock.advance(10)

        assert (before, recover(ledger, redis).overdue_batches) == ([], [batch])
        components.batches.cancel(batch)
        assert recover(ledger, redis).overdue_batches == []

    def test_an_expired_batch_is_reported_until_removed(
        self, ledger: Ledger, components: Components, redis: Redis, clock: Clock
    ) -> None:
        components.batches.create(batch := new_id())
        clock.advance(1001)

        assert recover(ledger, redis).expired_batches == [batch]
        components.batches.remove(batch)
        assert recover(ledger, redis) == EMPTY

    def test_an_expired_job_is_reported_until_deleted(self, ledger: Ledger, redis: Redis, clock: Clock) -> None:
        job = create_job(ledger)
        ledger.cancel(job.id)
        clock.advance(1001)

        assert recover(ledger, redis).expired == [job.id]
        ledger.delete(job.id)
        assert recover(ledger, redis) == EMPTY


class TestFaults:
    def test_a_lease_ends_after_the_clock_was_set_back(self, ledger: Ledger, redis: Redis, clock: Clock) -> None:
        must_claim(ledger, create_job(ledger))
        clock.advance(-3600)

        assert recover(ledger, redis) == EMPTY  # its worker may still be alive
        clock.advance(31)
        assert recover(ledger, redis).waiting == {"": 1}

    def test_a_postponement_ends_after_the_clock_was_set_back(self, ledger: Ledger, redis: Redis, clock: Clock) -> None:
        ledger.postpone([must_claim(ledger, create_job(ledger))])
        clock.advance(-3600)

        assert recover(ledger, redis).waiting == {"": 1}

    def test_expired_jobs_are_reported_when_redis_is_out_of_memory(
        self, ledger: Ledger, redis: Redis, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = create_job(ledger)
        clock.advance(1001)

        def raise_out_of_memory(*_: object, **__: object) -> None:
            raise OutOfMemoryError("OOM command not allowed")

        monkeypatch.setattr(redis, "set", raise_out_of_memory)

        assert ledger.recover().expired == [job.id]


def test_the_ledger_uses_the_clock_of_redis(redis: Redis, settings: Settings) -> None:
    before = redis.time()
    job = create_job(Components(redis, settings).ledger)
    after = redis.time()

    assert before[0] + before[1] / 1e6 <= job.created_at.timestamp() + 1e-6
    assert job.created_at.timestamp() <= after[0] + after[1] / 1e6 + 1e-6
