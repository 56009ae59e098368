"""Queue order: lanes, round-robin between owners, suspects, and the reported positions."""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import fakeredis
import pytest
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st
from redis import Redis

from common.jobs import Status, new_id
from common.ledger import Components, Ledger, Principal
from common.ledger.keys import LANES
from common.ledger.leases import BULK_SHARE
from common.ledger.queries import Waiting
from common.settings import Settings
from tests.support.clock import Clock
from tests.unit.common.ledger.jobs import CAPTION, MODEL, TIMINGS, create_job, must_claim, recover

BATCH = new_id()


@pytest.fixture
def settings() -> Settings:
    return Settings(lease_seconds=30, max_attempts=3, retention=1000)


def ledger_of(ledger: Ledger, owner: str) -> Ledger:
    return ledger.for_principal(Principal(owner, sees_all=False))


def create_jobs(ledger: Ledger, count: int, batch: str | None = BATCH) -> list[str]:
    return [create_job(ledger, batch=batch).id for _ in range(count)]


def claim_all(ledger: Ledger, count: int = 1) -> list[str]:
    """The ids in the order in which they are claimed."""
    order: list[str] = []
    while claims := ledger.claim_next(count).claims:
        order += [claim.id for claim in claims]
    return order


def position(ledger: Ledger, job_id: str) -> int:
    progress = ledger.get(job_id).progress
    assert progress is not None
    return progress.position


class TestLanes:
    def test_an_interactive_job_is_claimed_before_all_batch_jobs(self, ledger: Ledger) -> None:
        bulk, single = create_jobs(ledger, 3), create_job(ledger).id

        assert claim_all(ledger) == [single, *bulk]

    @pytest.mark.parametrize("count", [1, 3, 8])
    def test_the_bulk_lane_gets_its_share_while_interactive_jobs_wait(self, ledger: Ledger, count: int) -> None:
        bulk, singles = create_jobs(ledger, 5), create_jobs(ledger, 2 * BULK_SHARE, None)

        order = claim_all(ledger, count)

        assert [order.index(job_id) for job_id in bulk[:2]] == [BULK_SHARE - 1, 2 * BULK_SHARE - 1]
        assert [job_id for job_id in order if job_id in singles] == singles
        assert [job_id for job_id in order if job_id in bulk] == bulk

    def test_a_worker_at_its_bulk_limit_still_claims_interactive_jobs(self, ledger: Ledger) -> None:
        bulk, singles = create_jobs(ledger, 20), create_jobs(ledger, 2, None)

        first = ledger.claim_next(8, bulk=0)
        second = ledger.claim_next(8, bulk=0)
        third = ledger.claim_next(8, bulk=3)

        assert [claim.id for claim in first.claims] == singles
        assert (second.claims, second.more) == ([], False)
        assert ([claim.id for claim in third.claims], third.more) == (bulk[:3], True)


class TestOwners:
    def test_ten_jobs_do_not_wait_for_another_owner_s_hundred(self, ledger: Ledger) -> None:
        hundred, ten = create_jobs(ledger_of(ledger, "alice"), 100), create_jobs(ledger_of(ledger, "bob"), 10)

        order = claim_all(ledger, 8)

        assert max(order.index(job_id) for job_id in ten) < 20
        assert [job_id for job_id in order if job_id in hundred] == hundred

    def test_a_new_owner_starts_at_the_lowest_turn(self, ledger: Ledger) -> None:
        create_jobs(ledger_of(ledger, "alice"), 20)
        ledger.claim_next(15)
        late = create_jobs(ledger_of(ledger, "bob"), 3)

        order = claim_all(ledger)

        assert [order.index(job_id) for job_id in late] == [1, 3, 5]

    def test_every_owner_has_a_turn_when_owners_outnumber_a_claim(self, ledger: Ledger) -> None:
        jobs = {f"owner-{number:02}": create_jobs(ledger_of(ledger, f"owner-{number:02}"), 2) for number in range(20)}

        order = claim_all(ledger, 3)

        assert order == [job_ids[turn] for turn in range(2) for job_ids in jobs.values()]

    def test_claimed_more_tells_whether_jobs_are_left(self, ledger: Ledger) -> None:
        for number in range(3):
            create_jobs(ledger_of(ledger, f"owner-{number}"), 1)

        assert [ledger.claim_next(1).more for _ in range(3)] == [True, True, False]

    def test_concurrent_claims_are_disjoint(self, ledger: Ledger) -> None:
        jobs = create_jobs(ledger, 40)
        with ThreadPoolExecutor(8) as pool:
            claims = [claim.id for claimed in pool.map(ledger.claim_next, [3] * 16) for claim in claimed.claims]

        assert sorted(claims) == jobs


class TestRemoval:
    @pytest.mark.parametrize("end", ["cancel", "delete"])
    def test_a_canceled_or_deleted_job_leaves_the_queue(self, ledger: Ledger, redis: Redis, end: str) -> None:
        removed, kept = create_jobs(ledger_of(ledger, "alice"), 1)[0], create_jobs(ledger_of(ledger, "bob"), 1)[0]
        getattr(ledger, end)(removed)

        assert redis.zrange("turns:bulk", 0, -1) == ["bob"]
        assert claim_all(ledger) == [kept]

    def test_an_empty_queue_leaves_no_key(self, ledger: Ledger, redis: Redis) -> None:
        create_jobs(ledger_of(ledger, "alice"), 3)
        claim_all(ledger)

        assert redis.keys("queue:*") == redis.keys("turns:*") == []

    def test_a_released_job_is_its_owner_s_next_job(self, ledger: Ledger) -> None:
        first, second = create_jobs(ledger, 2)
        ledger.release(ledger.claim_next(1).claims)

        assert claim_all(ledger) == [first, second]


class TestSuspects:
    def test_jobs_held_by_a_lost_worker_are_claimed_as_suspects(
        self, ledger: Ledger, redis: Redis, clock: Clock
    ) -> None:
        suspects = create_jobs(ledger, 2)
        ledger.claim_next(2)
        clock.advance(31)
        recover(ledger, redis)
        normal = create_jobs(ledger, 1)

        claimed = ledger.claim_next(8)
        claimed_suspects = [ledger.claim_suspect() for _ in range(3)]

        assert ([claim.id for claim in claimed.claims], claimed.suspects) == (normal, 2)
        assert [claim and claim.id for claim in claimed_suspects] == [*suspects, None]
        assert {claim.job.attempts for claim in claimed_suspects if claim} == {2}

    def test_a_released_suspect_stays_a_suspect(self, ledger: Ledger, redis: Redis, clock: Clock) -> None:
        job = create_job(ledger)
        must_claim(ledger, job)
        clock.advance(31)
        recover(ledger, redis)
        ledger.release([must_claim(ledger, job)])

        assert ledger.claim_next(1).claims == []
        assert position(ledger, job.id) == 0
        assert must_claim(ledger, job).job.attempts == 2


class TestBatches:
    def test_a_batch_s_indexes_follow_its_jobs(self, ledger: Ledger, redis: Redis) -> None:
        first, second, _ = create_jobs(ledger, 3)
        ledger.commit(ledger.claim_next(1).claims[0], CAPTION, model=MODEL, timings=TIMINGS)
        ledger.cancel(second)

        counts = {status: redis.zcard(f"index:{status}#{BATCH}") for status in Status}
        assert counts == {"queued": 1, "processing": 0, "succeeded": 1, "failed": 0, "canceled": 1}
        assert redis.zrange(f"index:succeeded#{BATCH}", 0, -1) == [first]

    def test_deleting_all_jobs_of_a_batch_leaves_no_index(self, ledger: Ledger, redis: Redis) -> None:
        for job_id in create_jobs(ledger_of(ledger, "alice"), 3):
            ledger.delete(job_id)

        assert redis.keys("index:*") == redis.keys("queue:*") == []


class TestPositions:
    def test_an_interactive_job_is_ahead_of_batch_jobs(self, ledger: Ledger) -> None:
        bulk, single = create_jobs(ledger, 5), create_job(ledger).id

        assert position(ledger, single) == 0
        assert [position(ledger, job_id) for job_id in bulk] == [1, 2, 3, 4, 5]

    def test_a_postponed_job_has_position_zero(self, ledger: Ledger) -> None:
        first = create_job(ledger)
        ledger.postpone([must_claim(ledger, first)])
        create_job(ledger)

        assert position(ledger, first.id) == 0


class TestWaiting:
    def test_nothing_waits_in_an_empty_queue(self, ledger: Ledger) -> None:
        create_job(ledger)
        claim_all(ledger)

        assert [ledger.waiting(), *map(ledger.lane, LANES)] == [Waiting(0, 0.0)] * 3

    def test_jobs_of_all_owners_are_counted_with_the_age_of_the_oldest(self, ledger: Ledger, clock: Clock) -> None:
        create_jobs(ledger_of(ledger, "alice"), 2)
        clock.advance(5)
        create_jobs(ledger_of(ledger, "bob"), 3)
        create_job(ledger)
        clock.advance(2)

        assert [ledger_of(ledger, "bob").lane(lane) for lane in LANES] == [Waiting(1, 2.0), Waiting(5, 7.0)]
        assert ledger.waiting() == Waiting(6, 7.0)

    def test_a_postponed_job_waits_in_no_lane(self, ledger: Ledger, clock: Clock) -> None:
        ledger.postpone([must_claim(ledger, create_job(ledger))])
        clock.advance(1)

        assert (ledger.lane("interactive"), ledger.waiting()) == (Waiting(0, 0.0), Waiting(1, 1.0))


@examples(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 6)), min_size=1, max_size=5), st.integers(0, 7))
def test_positions_in_a_lane_match_the_claim_order(arrivals: list[tuple[str, int]], before: int) -> None:
    ledger = Components(fakeredis.FakeStrictRedis(decode_responses=True), Settings(), Clock()).ledger
    half = len(arrivals) // 2
    jobs = [create_jobs(ledger_of(ledger, owner), count) for owner, count in arrivals[:half]]
    early = {claim.id for claim in ledger.claim_next(before).claims} if before else set()
    jobs += [create_jobs(ledger_of(ledger, owner), count) for owner, count in arrivals[half:]]
    waiting = [job_id for job_id in itertools.chain(*jobs) if job_id not in early]

    positions = {job_id: position(ledger, job_id) for job_id in waiting}

    assert sorted(waiting, key=positions.__getitem__) == claim_all(ledger)
    assert sorted(positions.values()) == list(range(len(waiting)))
