"""One owner cannot take the whole queue, nor send more in a day than they may."""

from __future__ import annotations

import pytest
from redis import Redis

from common.ledger import Components, Ledger, Principal
from common.problems import Problem
from common.settings import Settings
from tests.support.clock import Clock
from tests.unit.common.ledger.jobs import CAPTION, MODEL, TIMINGS, claimed, wait_in


@pytest.fixture
def settings() -> Settings:
    return Settings(max_open_jobs=5, max_open_jobs_per_key=2, max_bytes_per_key_and_day=1000)


def of(ledger: Ledger, name: str) -> Ledger:
    return ledger.for_principal(Principal(name, sees_all=False))


def refusal(ledger: Ledger, pictures: int = 1) -> str | None:
    try:
        ledger.admit(pictures)
    except Problem as problem:
        return problem.kind.slug
    return None


def test_an_owner_s_open_jobs_are_counted_alone(ledger: Ledger) -> None:
    alice, bob = of(ledger, "alice"), of(ledger, "bob")
    for _ in range(2):
        wait_in(alice)

    assert (refusal(alice), refusal(bob), refusal(bob, 3)) == ("quota-used-up", None, "quota-used-up")


def test_a_job_that_is_done_makes_room(ledger: Ledger) -> None:
    alice = of(ledger, "alice")
    jobs = [wait_in(alice) for _ in range(2)]

    claim = claimed(ledger, jobs[0])
    assert refusal(alice) == "quota-used-up", "a job that is being captioned is open"
    ledger.commit(claim, CAPTION, model=MODEL, timings=TIMINGS)

    assert refusal(alice) is None


def test_the_queue_of_all_comes_first(ledger: Ledger) -> None:
    for name in "abcde":
        wait_in(of(ledger, name))

    assert refusal(of(ledger, "alice")) == "queue-full"


def test_without_keys_only_the_queue_of_all_counts(ledger: Ledger) -> None:
    for _ in range(4):
        wait_in(ledger)

    assert refusal(ledger) is None


def test_a_day_s_bytes_are_counted_until_midnight(ledger: Ledger, clock: Clock) -> None:
    clock.now = 20_000 * 86400.0 + 80_000
    alice = of(ledger, "alice")
    alice.charge(900)

    with pytest.raises(Problem) as refused:
        alice.charge(101)
    assert refused.value.kind.slug == "quota-used-up"
    assert refused.value.extensions["retry_after"] == 6400
    alice.charge(100)  # what was refused does not count
    of(ledger, "bob").charge(1000)
    clock.advance(6401)

    alice.charge(1000)


def test_the_counts_go_by_themselves(ledger: Ledger, redis: Redis) -> None:
    of(ledger, "alice").charge(1)

    (key,) = redis.keys("uploaded:*")
    assert 0 < redis.ttl(key) <= 2 * 86400


def test_without_a_limit_nothing_is_counted(redis: Redis, clock: Clock) -> None:
    of(Components(redis, Settings(), clock).ledger, "alice").charge(10**12)

    assert redis.keys("uploaded:*") == []
