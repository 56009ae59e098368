"""The counters of the ledger count each event once, and its state describes the queue of all owners."""

from __future__ import annotations

import fakeredis
import pytest
from redis import Redis

from common import problems
from common.jobs import Status, Timings, new_id
from common.ledger import Components, Counters, Ledger, NewJob, Principal
from common.ledger.metrics import Lane
from common.settings import Settings
from tests.support.claims import commit
from tests.support.clock import Clock
from tests.unit.common.ledger.jobs import CAPTION, IMAGE, MODEL, TIMINGS, create_job, must_claim, recover

BATCH = new_id()


@pytest.fixture
def settings() -> Settings:
    return Settings(lease_seconds=30, max_attempts=2, retention=1000)


def counters(components: Components, *names: str) -> dict[str, int]:
    """The counters whose names begin with one of `names`."""
    fields = components.metrics.read().counters
    return {field: value for field, value in fields.items() if field.partition(":")[0] in names}


class TestCounters:
    def test_accepted_cached_and_refused_jobs_are_counted_by_lane(self, components: Components, ledger: Ledger) -> None:
        create_job(ledger)
        create_job(ledger, batch=BATCH)
        create_job(ledger, cached=(MODEL, CAPTION))
        create_job(ledger, batch=BATCH, error=problems.DAMAGED_IMAGE("It is damaged."))

        assert counters(components, "accepted", "cached", "ended", "failed") == {
            "accepted:interactive": 2,
            "accepted:bulk": 1,
            "cached:interactive": 1,
            "ended:succeeded:interactive": 1,
            "ended:failed:bulk": 1,
            "failed:/problems/damaged-image": 1,
        }

    def test_a_repeated_creation_is_counted_once(self, components: Components, ledger: Ledger) -> None:
        job_id = new_id()
        for _ in range(2):  # as redis-py does after a timeout
            ledger.create(job_id, NewJob(input=IMAGE))

        assert counters(components, "accepted") == {"accepted:interactive": 1}

    def test_results_written_together_are_counted_in_the_buckets_of_their_durations(
        self, components: Components, ledger: Ledger, clock: Clock
    ) -> None:
        for _ in range(3):
            create_job(ledger, batch=BATCH)
        clock.advance(2)
        claims = ledger.claim_next(3).claims
        clock.advance(1)
        timings = Timings(queue_seconds=2.0, model_seconds=0.3, batch_size=3)
        for claim in claims:
            commit(ledger, claim, CAPTION, model=MODEL, timings=timings)

        assert counters(components, "queue", "turn", "job", "model", "batch") == {
            "queue:2.5:bulk": 3,
            "queue:sum:bulk": 6000,
            "turn:2.5:bulk": 1,
            "turn:sum:bulk": 2000,
            "job:5:bulk": 3,
            "job:sum:bulk": 9000,
            "model:0.5:demo": 3,
            "model:sum:demo": 900,
            "batch:4:demo": 3,
            "batch:sum:demo": 9000,
        }

    def test_a_result_of_a_lost_claim_is_not_counted(
        self, components: Components, ledger: Ledger, redis: Redis, clock: Clock
    ) -> None:
        lost = must_claim(ledger, create_job(ledger))
        clock.advance(31)
        recover(ledger, redis)
        assert not commit(ledger, lost, CAPTION, model=MODEL, timings=TIMINGS)

        assert counters(components, "ended", "model") == {}

    def test_the_recovery_counts_its_actions_and_the_time_since_the_last_extension(
        self, components: Components, ledger: Ledger, redis: Redis, clock: Clock
    ) -> None:
        job = create_job(ledger)
        must_claim(ledger, job)
        clock.advance(31)
        recover(ledger, redis)
        must_claim(ledger, job)
        clock.advance(31)
        recover(ledger, redis)

        assert ledger.get(job.id).status is Status.FAILED
        assert counters(components, "recovery", "recovered", "failed", "queue") == {
            "recovery:requeued": 1,
            "recovery:failed": 1,
            "recovered:40:": 1,
            "recovered:sum:": 31000,
            "failed:/problems/worker-lost": 1,
        }

    def test_a_job_queued_again_by_a_request_has_waited_since_then(
        self, components: Components, ledger: Ledger, clock: Clock
    ) -> None:
        components.batches.create(BATCH)
        job = ledger.create(new_id(), NewJob(input=IMAGE, batch=BATCH))
        ledger.cancel(job.id)
        clock.advance(500)
        components.batches.retry(BATCH)
        clock.advance(3)
        commit(ledger, must_claim(ledger, job), CAPTION, model=MODEL, timings=TIMINGS)

        assert counters(components, "queue", "turn", "job") == {
            "queue:5:bulk": 1,
            "queue:sum:bulk": 3000,
            "job:5:bulk": 1,
            "job:sum:bulk": 3000,
        }

    def test_what_redis_does_not_accept_is_counted_later(self, redis: Redis, server: fakeredis.FakeServer) -> None:
        now = Clock()
        events = Counters(redis, now)
        server.connected = False
        events.count("problem:queue-full")
        server.connected = True
        events.count("problem:queue-full")  # too soon for another attempt
        assert redis.hgetall("metrics") == {}

        now.advance(60)
        events.count("problem:not-found")

        assert redis.hgetall("metrics") == {"problem:queue-full": "2", "problem:not-found": "1"}


class TestState:
    def test_the_lanes_have_their_jobs_owners_and_oldest_job(
        self, components: Components, ledger: Ledger, redis: Redis, clock: Clock
    ) -> None:
        suspect = create_job(ledger)
        must_claim(ledger, suspect)
        clock.advance(31)
        recover(ledger, redis)
        for owner in ("alice", "bob"):
            create_job(ledger.for_principal(Principal(owner)), batch=BATCH)
            clock.advance(5)
        ledger.postpone([must_claim(ledger, create_job(ledger))])

        state = components.metrics.read()

        assert state.queue.lanes == {
            ("interactive", ""): Lane(0, 0, 0.0),
            ("bulk", ""): Lane(2, 2, 10.0),
            ("suspects", ""): Lane(1, 0, 41.0),
        }
        assert (state.queue.postponed, state.queue.jobs, state.jobs[Status.QUEUED]) == (1, 4, 4)
        assert state.queue.oldest_seconds == 41.0

    def test_an_expired_lease_is_overdue_until_it_is_recovered(
        self, components: Components, ledger: Ledger, redis: Redis, clock: Clock
    ) -> None:
        must_claim(ledger, create_job(ledger))
        clock.advance(37)
        before = components.metrics.read().lease_overdue_seconds
        recover(ledger, redis)

        assert (before, components.metrics.read().lease_overdue_seconds) == (7.0, 0.0)
