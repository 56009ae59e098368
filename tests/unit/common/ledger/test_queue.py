"""The queue: interactive jobs first, a share for batches, owners in turn, suspects apart, and positions to match."""

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
from common.ledger.leases import BULK_SHARE
from common.settings import Settings
from tests.support.clock import Clock
from tests.unit.common.ledger.jobs import CAPTION, MODEL, TIMINGS, claimed, recover, wait_in

BATCH = new_id()


@pytest.fixture
def settings() -> Settings:
    return Settings(lease_seconds=30, max_attempts=3, retention=1000)


def of(ledger: Ledger, owner: str) -> Ledger:
    return ledger.for_principal(Principal(owner, sees_all=False))


def many(ledger: Ledger, count: int, batch: str | None = BATCH) -> list[str]:
    return [wait_in(ledger, batch=batch).id for _ in range(count)]


def all_claimed(ledger: Ledger, at_once: int = 1) -> list[str]:
    """The ids in the order in which they are claimed."""
    order: list[str] = []
    while claims := ledger.claim_next(at_once).claims:
        order += [claim.id for claim in claims]
    return order


def position(ledger: Ledger, job_id: str) -> int:
    progress = ledger.get(job_id).progress
    assert progress is not None
    return progress.position


class TestLanes:
    def test_an_interactive_job_goes_before_all_of_a_batch(self, ledger: Ledger) -> None:
        bulk, single = many(ledger, 3), wait_in(ledger).id

        assert all_claimed(ledger) == [single, *bulk]

    @pytest.mark.parametrize("at_once", [1, 3, 8])
    def test_a_batch_has_its_share_while_interactive_jobs_wait(self, ledger: Ledger, at_once: int) -> None:
        bulk, singles = many(ledger, 5), many(ledger, 2 * BULK_SHARE, None)

        order = all_claimed(ledger, at_once)

        assert [order.index(job_id) for job_id in bulk[:2]] == [BULK_SHARE - 1, 2 * BULK_SHARE - 1]
        assert [job_id for job_id in order if job_id in singles] == singles
        assert [job_id for job_id in order if job_id in bulk] == bulk

    def test_a_worker_without_room_for_a_batch_still_gets_interactive_jobs(self, ledger: Ledger) -> None:
        bulk, singles = many(ledger, 20), many(ledger, 2, None)

        first = ledger.claim_next(8, bulk=0)
        second = ledger.claim_next(8, bulk=0)
        third = ledger.claim_next(8, bulk=3)

        assert [claim.id for claim in first.claims] == singles
        assert (second.claims, second.more) == ([], False)
        assert ([claim.id for claim in third.claims], third.more) == (bulk[:3], True)


class TestOwners:
    def test_ten_pictures_do_not_wait_for_another_s_hundred(self, ledger: Ledger) -> None:
        hundred, ten = many(of(ledger, "alice"), 100), many(of(ledger, "bob"), 10)

        order = all_claimed(ledger, 8)

        assert max(order.index(job_id) for job_id in ten) < 20
        assert [job_id for job_id in order if job_id in hundred] == hundred

    def test_who_comes_later_waits_for_no_turns_that_others_had_before(self, ledger: Ledger) -> None:
        many(of(ledger, "alice"), 20)
        ledger.claim_next(15)
        late = many(of(ledger, "bob"), 3)

        order = all_claimed(ledger)

        assert [order.index(job_id) for job_id in late] == [1, 3, 5]

    def test_more_owners_than_are_claimed_at_once_all_have_their_turn(self, ledger: Ledger) -> None:
        jobs = {f"owner-{number:02}": many(of(ledger, f"owner-{number:02}"), 2) for number in range(20)}

        order = all_claimed(ledger, 3)

        assert order == [job_ids[turn] for turn in range(2) for job_ids in jobs.values()]

    def test_whether_more_can_be_claimed_is_said(self, ledger: Ledger) -> None:
        for number in range(3):
            many(of(ledger, f"owner-{number}"), 1)

        assert [ledger.claim_next(1).more for _ in range(3)] == [True, True, False]

    def test_of_many_threads_each_gets_others(self, ledger: Ledger) -> None:
        jobs = many(ledger, 40)
        with ThreadPoolExecutor(8) as pool:
            claims = [claim.id for got in pool.map(ledger.claim_next, [3] * 16) for claim in got.claims]

        assert sorted(claims) == jobs


class TestLeaving:
    @pytest.mark.parametrize("end", ["cancel", "delete"])
    def test_what_is_canceled_or_deleted_leaves_the_queue(self, ledger: Ledger, redis: Redis, end: str) -> None:
        gone, kept = many(of(ledger, "alice"), 1)[0], many(of(ledger, "bob"), 1)[0]
        getattr(ledger, end)(gone)

        assert redis.zrange("turns:bulk", 0, -1) == ["bob"]
        assert all_claimed(ledger) == [kept]

    def test_an_empty_queue_leaves_no_key(self, ledger: Ledger, redis: Redis) -> None:
        many(of(ledger, "alice"), 3)
        all_claimed(ledger)

        assert redis.keys("queue:*") == redis.keys("turns:*") == []

    def test_a_job_that_is_handed_back_is_its_owner_s_next_again(self, ledger: Ledger) -> None:
        first, second = many(ledger, 2)
        ledger.release(ledger.claim_next(1).claims)

        assert all_claimed(ledger) == [first, second]


class TestSuspects:
    def test_what_a_lost_worker_held_is_claimed_apart(self, ledger: Ledger, redis: Redis, clock: Clock) -> None:
        suspects = many(ledger, 2)
        ledger.claim_next(2)
        clock.advance(31)
        recover(ledger, redis)
        other = many(ledger, 1)

        got = ledger.claim_next(8)
        apart = [ledger.claim_suspect() for _ in range(3)]

        assert ([claim.id for claim in got.claims], got.suspects) == (other, 2)
        assert [claim and claim.id for claim in apart] == [*suspects, None]
        assert {claim.job.attempts for claim in apart if claim} == {2}

    def test_a_suspect_that_is_handed_back_stays_one(self, ledger: Ledger, redis: Redis, clock: Clock) -> None:
        job = wait_in(ledger)
        claimed(ledger, job)
        clock.advance(31)
        recover(ledger, redis)
        ledger.release([claimed(ledger, job)])

        assert ledger.claim_next(1).claims == []
        assert position(ledger, job.id) == 0
        assert claimed(ledger, job).job.attempts == 2


class TestBatches:
    def test_a_batch_s_indexes_follow_its_jobs(self, ledger: Ledger, redis: Redis) -> None:
        first, second, _ = many(ledger, 3)
        ledger.commit(ledger.claim_next(1).claims[0], CAPTION, model=MODEL, timings=TIMINGS)
        ledger.cancel(second)

        counts = {status: redis.zcard(f"index:{status}#{BATCH}") for status in Status}
        assert counts == {"queued": 1, "processing": 0, "succeeded": 1, "failed": 0, "canceled": 1}
        assert redis.zrange(f"index:succeeded#{BATCH}", 0, -1) == [first]

    def test_a_deleted_batch_leaves_no_index(self, ledger: Ledger, redis: Redis) -> None:
        for job_id in many(of(ledger, "alice"), 3):
            ledger.delete(job_id)

        assert redis.keys("index:*") == redis.keys("queue:*") == []


class TestPositions:
    def test_an_interactive_job_waits_for_no_batch(self, ledger: Ledger) -> None:
        bulk, single = many(ledger, 5), wait_in(ledger).id

        assert position(ledger, single) == 0
        assert [position(ledger, job_id) for job_id in bulk] == [1, 2, 3, 4, 5]

    def test_a_postponed_job_has_nothing_before_it(self, ledger: Ledger) -> None:
        first = wait_in(ledger)
        ledger.postpone([claimed(ledger, first)])
        wait_in(ledger)

        assert position(ledger, first.id) == 0


@examples(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 6)), min_size=1, max_size=5), st.integers(0, 7))
def test_positions_in_a_lane_are_the_order_of_the_claims(arrivals: list[tuple[str, int]], before: int) -> None:
    ledger = Components(fakeredis.FakeStrictRedis(decode_responses=True), Settings(), Clock()).ledger
    half = len(arrivals) // 2
    jobs = [many(of(ledger, owner), count) for owner, count in arrivals[:half]]
    early = {claim.id for claim in ledger.claim_next(before).claims} if before else set()
    jobs += [many(of(ledger, owner), count) for owner, count in arrivals[half:]]
    waiting = [job_id for job_id in itertools.chain(*jobs) if job_id not in early]

    positions = {job_id: position(ledger, job_id) for job_id in waiting}

    assert sorted(waiting, key=positions.__getitem__) == all_claimed(ledger)
    assert sorted(positions.values()) == list(range(len(waiting)))
