"""Quotas of open jobs and of uploaded bytes per day."""

from __future__ import annotations

import pytest
from redis import Redis

from common.ledger import Components, Ledger, Principal
from common.problems import Problem
from common.settings import Settings
from tests.support.claims import commit
from tests.support.clock import Clock
from tests.unit.common.ledger.jobs import CAPTION, MODEL, TIMINGS, create_job, must_claim


@pytest.fixture
def settings() -> Settings:
    return Settings(max_open_jobs=5, max_open_jobs_per_key=2, max_bytes_per_key_and_day=1000)


def ledger_of(ledger: Ledger, name: str) -> Ledger:
    return ledger.for_principal(Principal(name, sees_all=False))


def rejection(ledger: Ledger, images: int = 1) -> str | None:
    try:
        ledger.admit(images)
    except Problem as problem:
        return problem.kind.slug
    return None


def test_open_jobs_are_limited_per_owner(ledger: Ledger) -> None:
    alice, bob = ledger_of(ledger, "alice"), ledger_of(ledger, "bob")
    for _ in range(2):
        create_job(alice)

    assert (rejection(alice), rejection(bob), rejection(bob, 3)) == ("quota-used-up", None, "quota-used-up")


def test_an_ended_job_does_not_count(ledger: Ledger) -> None:
    alice = ledger_of(ledger, "alice")
    jobs = [create_job(alice) for _ in range(2)]

    claim = must_claim(ledger, jobs[0])
    assert rejection(alice) == "quota-used-up", "a job that is being captioned is open"
    commit(ledger, claim, CAPTION, model=MODEL, timings=TIMINGS)

    assert rejection(alice) is None


def test_the_total_limit_is_checked_first(ledger: Ledger) -> None:
    for name in "abcde":
        create_job(ledger_of(ledger, name))

    assert rejection(ledger_of(ledger, "alice")) == "queue-full"


def test_without_keys_only_the_total_limit_applies(ledger: Ledger) -> None:
    for _ in range(4):
        create_job(ledger)

    assert rejection(ledger) is None


def test_uploaded_bytes_are_limited_until_midnight(ledger: Ledger, clock: Clock) -> None:
    clock.now = 20_000 * 86400.0 + 80_000
    alice = ledger_of(ledger, "alice")
    alice.charge(900)

    with pytest.raises(Problem) as raised:
        alice.charge(101)
    assert raised.value.kind.slug == "quota-used-up"
    assert raised.value.extensions["retry_after"] == 6400
    alice.charge(100)  # rejected bytes do not count
    ledger_of(ledger, "bob").charge(1000)
    clock.advance(6401)

    alice.charge(1000)


def test_byte_counts_have_a_ttl(ledger: Ledger, redis: Redis) -> None:
    ledger_of(ledger, "alice").charge(1)

    (key,) = redis.keys("uploaded:*")
    assert 0 < redis.ttl(key) <= 2 * 86400


def test_without_a_limit_bytes_are_not_counted(redis: Redis, clock: Clock) -> None:
    ledger_of(Components(redis, Settings(), clock).ledger, "alice").charge(10**12)

    assert redis.keys("uploaded:*") == []
