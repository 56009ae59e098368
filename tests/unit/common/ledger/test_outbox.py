"""Webhook outbox: one event per ended job or batch, leased to one sender at a time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis

from common import problems
from common.jobs import new_id
from common.ledger import Batches, Components, Delivery, Ledger, NewBatch, NewJob, Outbox
from common.ledger.outbox import LEASE_SECONDS
from common.settings import Settings
from tests.support.claims import commit, commit_failure
from tests.support.clock import Clock
from tests.unit.common.ledger.jobs import CAPTION, IMAGE, MODEL, TIMINGS, create_job, must_claim, recover

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
    """A batch that is not sealed yet."""
    batches.create(batch := new_id(), NewBatch(webhook=URL))
    return batch


def claim_due(outbox: Outbox) -> list[tuple[str, str]]:
    """Claim all due webhooks; their event types and ids."""
    claimed = []
    while delivery := outbox.claim():
        claimed.append((delivery.type, delivery.id))
    return claimed


def required(delivery: Delivery | None) -> Delivery:
    assert delivery is not None
    return delivery


def succeed(ledger: Ledger, job_id: str) -> None:
    commit(ledger, must_claim(ledger, ledger.get(job_id)), CAPTION, model=MODEL, timings=TIMINGS)


def fail(ledger: Ledger, job_id: str) -> None:
    commit_failure(ledger, must_claim(ledger, ledger.get(job_id)), EMPTY)


def cancel(ledger: Ledger, job_id: str) -> None:
    ledger.cancel(job_id)


class TestJobs:
    @pytest.mark.parametrize(
        ("end", "event"), [(succeed, "job.succeeded"), (fail, "job.failed"), (cancel, "job.canceled")]
    )
    def test_a_job_that_ends_creates_one_event(
        self, ledger: Ledger, outbox: Outbox, end: Callable[[Ledger, str], None], event: str
    ) -> None:
        job = create_job(ledger, webhook=URL)
        before = claim_due(outbox)
        end(ledger, job.id)
        ledger.cancel(job.id)  # no effect on an ended job

        assert before == []
        assert claim_due(outbox) == [(event, job.id)]

    @pytest.mark.parametrize(
        ("made", "event"),
        [({"cached": (MODEL, CAPTION)}, "job.succeeded"), ({"error": EMPTY}, "job.failed")],
    )
    def test_a_job_that_is_created_ended_creates_an_event(
        self, ledger: Ledger, outbox: Outbox, made: dict[str, object], event: str
    ) -> None:
        job = create_job(ledger, webhook=URL, **made)

        assert claim_due(outbox) == [(event, job.id)]

    def test_a_job_that_fails_after_max_attempts_creates_an_event(
        self, ledger: Ledger, outbox: Outbox, redis: Redis, clock: Clock
    ) -> None:
        job = create_job(ledger, webhook=URL)
        for _ in range(3):
            must_claim(ledger, ledger.get(job.id))
            clock.advance(31)
            recover(ledger, redis)

        assert claim_due(outbox) == [("job.failed", job.id)]

    def test_a_job_without_webhook_creates_no_event(self, ledger: Ledger, outbox: Outbox) -> None:
        succeed(ledger, create_job(ledger).id)

        assert claim_due(outbox) == []
        assert outbox.status().waiting == 0

    def test_a_repeated_idempotency_key_creates_no_second_event(self, ledger: Ledger, outbox: Outbox) -> None:
        first = create_job(ledger, webhook=URL, idempotency_key="k", cached=(MODEL, CAPTION))
        create_job(ledger, webhook=URL, idempotency_key="k", cached=(MODEL, CAPTION))

        assert claim_due(outbox) == [("job.succeeded", first.id)]

    def test_deleting_a_job_removes_its_event(self, ledger: Ledger, outbox: Outbox, redis: Redis) -> None:
        job = create_job(ledger, webhook=URL)
        succeed(ledger, job.id)
        ledger.delete(job.id)

        assert claim_due(outbox) == []
        assert redis.keys("webhook*") == []

    def test_the_webhook_url_is_not_part_of_the_job(self, ledger: Ledger) -> None:
        assert URL not in str(ledger.get(create_job(ledger, webhook=URL).id).body())


class TestBatches:
    def test_a_batch_creates_one_event_and_its_jobs_none(
        self, ledger: Ledger, batches: Batches, batch: str, outbox: Outbox
    ) -> None:
        jobs = [create_job(ledger, batch=batch, webhook=URL) for _ in range(3)]
        batches.seal(batch)
        events_before = []
        for end, job in zip((succeed, fail, cancel), jobs, strict=True):
            events_before.append(claim_due(outbox))
            end(ledger, job.id)

        assert events_before == [[], [], []]
        assert claim_due(outbox) == [("batch.completed", batch)]

    def test_an_unsealed_batch_creates_no_event(
        self, ledger: Ledger, batches: Batches, batch: str, outbox: Outbox
    ) -> None:
        succeed(ledger, create_job(ledger, batch=batch, webhook=URL).id)
        create_job(ledger, batch=batch, webhook=URL, error=EMPTY)
        before = claim_due(outbox)
        batches.seal(batch)

        assert before == []
        assert claim_due(outbox) == [("batch.completed", batch)]

    def test_a_deleted_job_does_not_delay_its_batch(
        self, ledger: Ledger, batches: Batches, batch: str, outbox: Outbox
    ) -> None:
        done, deleted = (create_job(ledger, batch=batch, webhook=URL) for _ in range(2))
        batches.seal(batch)
        succeed(ledger, done.id)
        ledger.delete(deleted.id)

        assert claim_due(outbox) == [("batch.completed", batch)]

    def test_a_released_job_keeps_its_batch_open(
        self, ledger: Ledger, batches: Batches, batch: str, outbox: Outbox
    ) -> None:
        job = create_job(ledger, batch=batch, webhook=URL)
        batches.seal(batch)
        ledger.release([must_claim(ledger, job)])
        before = claim_due(outbox)
        succeed(ledger, job.id)

        assert before == []
        assert claim_due(outbox) == [("batch.completed", batch)]

    def test_jobs_that_end_concurrently_create_one_batch_event(
        self, redis: Redis, clock: Clock, batches: Batches, batch: str, outbox: Outbox
    ) -> None:
        ledger = Components(redis, Settings(), clock).ledger
        jobs = [create_job(ledger, batch=batch, webhook=URL) for _ in range(16)]
        batches.seal(batch)
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda job: ledger.cancel(job.id), jobs))

        assert claim_due(outbox) == [("batch.completed", batch)]


class TestClaims:
    @pytest.fixture
    def job(self, ledger: Ledger) -> str:
        """The id of a failed job with a due webhook."""
        return create_job(ledger, webhook=URL, error=EMPTY).id

    def test_a_claimed_webhook_is_not_claimed_again_before_its_lease_ends(
        self, outbox: Outbox, job: str, clock: Clock
    ) -> None:
        first = required(outbox.claim())
        clock.advance(LEASE_SECONDS - 0.1)
        meanwhile = outbox.claim()
        clock.advance(0.1)
        second = required(outbox.claim())

        assert meanwhile is None
        assert (first.id, first.attempts) == (job, 1)
        assert (second.id, second.attempts, second.since) == (job, 2, first.since)

    def test_concurrent_claims_give_a_webhook_to_one_sender(self, outbox: Outbox, job: str) -> None:
        with ThreadPoolExecutor(8) as pool:
            claims = list(pool.map(lambda _: outbox.claim(), range(8)))

        assert [claim.id for claim in claims if claim] == [job]

    def test_a_sender_with_an_expired_lease_cannot_settle_a_webhook(
        self, outbox: Outbox, job: str, clock: Clock
    ) -> None:
        slow = required(outbox.claim())
        clock.advance(LEASE_SECONDS)
        quick = required(outbox.claim())
        outbox.delivered(slow)
        outbox.postpone(slow, 0, "slow")
        outbox.give_up(slow, "slow")
        meanwhile = outbox.status()
        outbox.delivered(quick)

        assert (meanwhile.waiting, meanwhile.given_up) == (1, 0)
        assert outbox.status().waiting == 0

    @pytest.mark.parametrize("seconds", [5, LEASE_SECONDS + 5])
    def test_a_postponed_webhook_is_due_after_its_delay(
        self, outbox: Outbox, job: str, clock: Clock, seconds: float
    ) -> None:
        outbox.postpone(required(outbox.claim()), seconds, "it answered 500")
        clock.advance(seconds - 0.1)
        before = outbox.claim()
        clock.advance(0.1)

        assert before is None
        assert required(outbox.claim()).id == job

    def test_the_oldest_webhook_of_a_host_comes_first(self, ledger: Ledger, outbox: Outbox, clock: Clock) -> None:
        jobs = []
        for _ in range(3):
            jobs.append(create_job(ledger, webhook=URL, error=EMPTY).id)
            clock.advance(1)

        assert [id for _, id in claim_due(outbox)] == jobs

    def test_excluded_hosts_are_not_claimed(self, ledger: Ledger, outbox: Outbox) -> None:
        for _ in range(3):
            create_job(ledger, webhook="https://slow.example/", error=EMPTY)
        quick = create_job(ledger, webhook="https://quick.example/", error=EMPTY).id

        assert required(outbox.claim({"slow.example"})).id == quick
        assert outbox.claim({"slow.example", "quick.example"}) is None

    def test_a_new_webhook_makes_its_postponed_host_due(self, ledger: Ledger, outbox: Outbox, job: str) -> None:
        outbox.postpone(required(outbox.claim()), 3600, "it answered 500")
        before = outbox.claim()
        later = create_job(ledger, webhook=URL, error=EMPTY).id

        assert before is None
        assert claim_due(outbox) == [("job.failed", later)]

    def test_a_given_up_webhook_is_listed_until_retention_ends(
        self, outbox: Outbox, job: str, redis: Redis, clock: Clock
    ) -> None:
        outbox.give_up(required(outbox.claim()), "it answered 404")
        clock.advance(500)
        status = outbox.status()
        clock.advance(501)

        assert (status.waiting, status.given_up, status.last) == (0, 1, "receiver.example: it answered 404")
        assert 0 < redis.ttl(f"webhook:{job}") <= 1001
        assert outbox.status().given_up == 0
        assert outbox.claim() is None

    def test_a_delivered_webhook_leaves_no_key(self, outbox: Outbox, job: str, redis: Redis, clock: Clock) -> None:
        outbox.delivered(required(outbox.claim()))
        clock.advance(LEASE_SECONDS)
        outbox.claim()

        assert redis.keys("webhook*") == []


class TestSecrets:
    def test_a_generated_secret_is_stored(self, redis: Redis, settings: Settings, outbox: Outbox) -> None:
        (secret,) = outbox.secrets()

        assert secret.startswith("whsec_")
        assert Components(redis, settings).outbox.secrets() == [secret]

    def test_secrets_of_the_settings_take_precedence(self, redis: Redis, outbox: Outbox) -> None:
        first, second = outbox.secrets()[0], "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"

        configured = Components(redis, Settings(webhook_secret=f"{second},{first}")).outbox

        assert configured.secrets() == [second, first]


def test_a_batch_of_cached_captions_creates_its_event_when_sealed(
    ledger: Ledger, batches: Batches, batch: str, outbox: Outbox
) -> None:
    """All captions of a batch may come from the cache."""
    ledger.create(new_id(), NewJob(input=IMAGE, cached=(MODEL, CAPTION), batch=batch, webhook=URL))
    before = claim_due(outbox)
    batches.seal(batch)

    assert before == []
    assert claim_due(outbox) == [("batch.completed", batch)]
