"""The outbox: what ends is told once, whoever dies, and nobody tells it while another does."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis

from common import problems
from common.jobs import new_id
from common.ledger import Batches, Components, Delivery, Ledger, NewJob, Outbox
from common.ledger.outbox import LEASE
from common.settings import Settings
from tests.support.clock import Clock
from tests.unit.common.ledger.jobs import CAPTION, MODEL, PICTURE, TIMINGS, claimed, recover, wait_in

URL = "https://receiver.example/hook"
EMPTY = problems.EMPTY_UPLOAD("It is empty.")


@pytest.fixture
def outbox(components: Components) -> Outbox:
    return components.outbox


@pytest.fixture
def batches(components: Components) -> Batches:
    return components.batches


@pytest.fixture
def batch(batches: Batches) -> str:
    """A batch of which pictures are still being sent."""
    batches.create(batch := new_id(), URL)
    return batch


def due(outbox: Outbox) -> list[tuple[str, str]]:
    """Event and id of all that is due; claims it."""
    found = []
    while delivery := outbox.claim():
        found.append((delivery.type, delivery.id))
    return found


def must(delivery: Delivery | None) -> Delivery:
    assert delivery is not None
    return delivery


def succeed(ledger: Ledger, job_id: str) -> None:
    ledger.commit(claimed(ledger, ledger.get(job_id)), CAPTION, model=MODEL, timings=TIMINGS)


def fail(ledger: Ledger, job_id: str) -> None:
    ledger.fail(claimed(ledger, ledger.get(job_id)), EMPTY)


def cancel(ledger: Ledger, job_id: str) -> None:
    ledger.cancel(job_id)


class TestJobs:
    @pytest.mark.parametrize(
        ("end", "event"), [(succeed, "job.succeeded"), (fail, "job.failed"), (cancel, "job.canceled")]
    )
    def test_the_end_of_a_job_is_told_once(
        self, ledger: Ledger, outbox: Outbox, end: Callable[[Ledger, str], None], event: str
    ) -> None:
        job = wait_in(ledger, webhook=URL)
        before = due(outbox)
        end(ledger, job.id)
        ledger.cancel(job.id)  # which changes nothing any more

        assert before == []
        assert due(outbox) == [(event, job.id)]

    @pytest.mark.parametrize(
        ("made", "event"),
        [({"cached": (MODEL, CAPTION)}, "job.succeeded"), ({"error": EMPTY}, "job.failed")],
    )
    def test_a_job_that_is_done_from_the_start_is_told_too(
        self, ledger: Ledger, outbox: Outbox, made: dict[str, object], event: str
    ) -> None:
        job = wait_in(ledger, webhook=URL, **made)

        assert due(outbox) == [(event, job.id)]

    def test_a_job_that_was_given_up_is_told(self, ledger: Ledger, outbox: Outbox, redis: Redis, clock: Clock) -> None:
        job = wait_in(ledger, webhook=URL)
        for _ in range(3):
            claimed(ledger, ledger.get(job.id))
            clock.advance(31)
            recover(ledger, redis)

        assert due(outbox) == [("job.failed", job.id)]

    def test_without_a_webhook_nothing_is_told(self, ledger: Ledger, outbox: Outbox) -> None:
        succeed(ledger, wait_in(ledger).id)

        assert due(outbox) == []
        assert outbox.standing().waiting == 0

    def test_the_same_idempotency_key_tells_once(self, ledger: Ledger, outbox: Outbox) -> None:
        first = wait_in(ledger, webhook=URL, idempotency_key="k", cached=(MODEL, CAPTION))
        wait_in(ledger, webhook=URL, idempotency_key="k", cached=(MODEL, CAPTION))

        assert due(outbox) == [("job.succeeded", first.id)]

    def test_of_a_deleted_job_nothing_is_told(self, ledger: Ledger, outbox: Outbox, redis: Redis) -> None:
        job = wait_in(ledger, webhook=URL)
        succeed(ledger, job.id)
        ledger.delete(job.id)

        assert due(outbox) == []
        assert redis.keys("webhook*") == []

    def test_the_url_is_not_shown_with_the_job(self, ledger: Ledger) -> None:
        assert URL not in str(ledger.get(wait_in(ledger, webhook=URL).id).body())


class TestBatches:
    def test_its_end_is_told_once_and_that_of_its_jobs_is_not(
        self, ledger: Ledger, batches: Batches, batch: str, outbox: Outbox
    ) -> None:
        jobs = [wait_in(ledger, batch=batch, webhook=URL) for _ in range(3)]
        batches.seal(batch)
        told = []
        for end, job in zip((succeed, fail, cancel), jobs, strict=True):
            told.append(due(outbox))
            end(ledger, job.id)

        assert told == [[], [], []]
        assert due(outbox) == [("batch.completed", batch)]

    def test_it_has_not_ended_while_pictures_are_still_sent(
        self, ledger: Ledger, batches: Batches, batch: str, outbox: Outbox
    ) -> None:
        succeed(ledger, wait_in(ledger, batch=batch, webhook=URL).id)
        wait_in(ledger, batch=batch, webhook=URL, error=EMPTY)
        before = due(outbox)
        batches.seal(batch)

        assert before == []
        assert due(outbox) == [("batch.completed", batch)]

    def test_a_deleted_job_does_not_hold_it_up(
        self, ledger: Ledger, batches: Batches, batch: str, outbox: Outbox
    ) -> None:
        done, deleted = (wait_in(ledger, batch=batch, webhook=URL) for _ in range(2))
        batches.seal(batch)
        succeed(ledger, done.id)
        ledger.delete(deleted.id)

        assert due(outbox) == [("batch.completed", batch)]

    def test_a_job_that_waits_again_is_still_open(
        self, ledger: Ledger, batches: Batches, batch: str, outbox: Outbox
    ) -> None:
        job = wait_in(ledger, batch=batch, webhook=URL)
        batches.seal(batch)
        ledger.release([claimed(ledger, job)])
        before = due(outbox)
        succeed(ledger, job.id)

        assert before == []
        assert due(outbox) == [("batch.completed", batch)]

    def test_jobs_that_end_at_the_same_moment_tell_it_once(
        self, redis: Redis, clock: Clock, batches: Batches, batch: str, outbox: Outbox
    ) -> None:
        ledger = Components(redis, Settings(), clock).ledger
        jobs = [wait_in(ledger, batch=batch, webhook=URL) for _ in range(16)]
        batches.seal(batch)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda job: ledger.cancel(job.id), jobs))

        assert due(outbox) == [("batch.completed", batch)]


class TestClaims:
    @pytest.fixture
    def job(self, ledger: Ledger) -> str:
        """The id of a job whose end is to be told."""
        return wait_in(ledger, webhook=URL, error=EMPTY).id

    def test_what_is_claimed_is_nobody_else_s_until_its_lease_ends(
        self, outbox: Outbox, job: str, clock: Clock
    ) -> None:
        first = must(outbox.claim())
        clock.advance(LEASE - 0.1)
        meanwhile = outbox.claim()
        clock.advance(0.1)
        second = must(outbox.claim())

        assert meanwhile is None
        assert (first.id, first.attempts) == (job, 1)
        assert (second.id, second.attempts, second.since) == (job, 2, first.since)

    def test_of_many_who_claim_at_once_one_gets_it(self, outbox: Outbox, job: str) -> None:
        with ThreadPoolExecutor(8) as pool:
            claims = list(pool.map(lambda _: outbox.claim(), range(8)))

        assert [claim.id for claim in claims if claim] == [job]

    def test_who_was_thought_dead_settles_nothing(self, outbox: Outbox, job: str, clock: Clock) -> None:
        slow = must(outbox.claim())
        clock.advance(LEASE)
        quick = must(outbox.claim())
        outbox.delivered(slow)
        outbox.postpone(slow, 0, "slow")
        outbox.give_up(slow, "slow")
        meanwhile = outbox.standing()
        outbox.delivered(quick)

        assert (meanwhile.waiting, meanwhile.given_up) == (1, 0)
        assert outbox.standing().waiting == 0

    @pytest.mark.parametrize("seconds", [5, LEASE + 5])
    def test_what_is_postponed_is_due_then(self, outbox: Outbox, job: str, clock: Clock, seconds: float) -> None:
        outbox.postpone(must(outbox.claim()), seconds, "it answered 500")
        clock.advance(seconds - 0.1)
        before = outbox.claim()
        clock.advance(0.1)

        assert before is None
        assert must(outbox.claim()).id == job

    def test_the_longest_due_of_a_host_comes_first(self, ledger: Ledger, outbox: Outbox, clock: Clock) -> None:
        jobs = []
        for _ in range(3):
            jobs.append(wait_in(ledger, webhook=URL, error=EMPTY).id)
            clock.advance(1)

        assert [id for _, id in due(outbox)] == jobs

    def test_a_host_can_be_left_alone(self, ledger: Ledger, outbox: Outbox) -> None:
        for _ in range(3):
            wait_in(ledger, webhook="https://slow.example/", error=EMPTY)
        quick = wait_in(ledger, webhook="https://quick.example/", error=EMPTY).id

        assert must(outbox.claim({"slow.example"})).id == quick
        assert outbox.claim({"slow.example", "quick.example"}) is None

    def test_a_webhook_that_comes_later_makes_a_resting_host_due(
        self, ledger: Ledger, outbox: Outbox, job: str
    ) -> None:
        outbox.postpone(must(outbox.claim()), 3600, "it answered 500")
        nothing = outbox.claim()
        later = wait_in(ledger, webhook=URL, error=EMPTY).id

        assert nothing is None
        assert due(outbox) == [("job.failed", later)]

    def test_what_was_given_up_stays_to_be_seen_for_a_while(
        self, outbox: Outbox, job: str, redis: Redis, clock: Clock
    ) -> None:
        outbox.give_up(must(outbox.claim()), "it answered 404")
        clock.advance(500)
        seen = outbox.standing()
        clock.advance(501)

        assert (seen.waiting, seen.given_up, seen.last) == (0, 1, "receiver.example: it answered 404")
        assert 0 < redis.ttl(f"webhook:{job}") <= 1001
        assert outbox.standing().given_up == 0
        assert outbox.claim() is None

    def test_what_is_settled_leaves_nothing_behind(self, outbox: Outbox, job: str, redis: Redis, clock: Clock) -> None:
        outbox.delivered(must(outbox.claim()))
        clock.advance(LEASE)
        outbox.claim()

        assert redis.keys("webhook*") == []


class TestSecrets:
    def test_the_service_makes_one_and_keeps_it(self, redis: Redis, settings: Settings, outbox: Outbox) -> None:
        (secret,) = outbox.secrets()

        assert secret.startswith("whsec_")
        assert Components(redis, settings).outbox.secrets() == [secret]

    def test_those_of_the_settings_are_taken_instead(self, redis: Redis, outbox: Outbox) -> None:
        first, second = outbox.secrets()[0], "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

        told = Components(redis, Settings(webhook_secret=f"{second},{first}")).outbox

        assert told.secrets() == [second, first]


def test_a_picture_that_is_done_before_it_is_recorded_is_no_batch_s_last(
    ledger: Ledger, batches: Batches, batch: str, outbox: Outbox
) -> None:
    """All of a batch may come from the cache."""
    ledger.create(new_id(), NewJob(input=PICTURE, cached=(MODEL, CAPTION), batch=batch, webhook=URL))
    before = due(outbox)
    batches.seal(batch)

    assert before == []
    assert due(outbox) == [("batch.completed", batch)]
