"""Waiting threads wake when their job ends."""

from __future__ import annotations

import threading
import time

import fakeredis
import pytest
from redis import Redis

from common.ledger import Completions, Ledger, completions
from tests.support.claims import commit
from tests.unit.common.ledger.jobs import CAPTION, MODEL, TIMINGS, create_job, must_claim

#: Seconds; far longer than a wake-up takes.
TIMEOUT = 5


@pytest.fixture(autouse=True)
def short_poll_interval(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completions, "POLL_INTERVAL", 0.05)


def test_a_finished_job_wakes_only_its_own_subscribers(ledger: Ledger, redis: Redis) -> None:
    job, other = create_job(ledger), create_job(ledger)
    subscriptions = Completions(redis)
    with subscriptions.subscribe(job.id) as first:
        assert first.wait(TIMEOUT)  # the subscription begins
        first.clear()
        with subscriptions.subscribe(job.id) as second, subscriptions.subscribe(other.id) as third:
            commit(ledger, must_claim(ledger, job), CAPTION, model=MODEL, timings=TIMINGS)

            assert first.wait(TIMEOUT) and second.wait(TIMEOUT)
            assert not third.is_set()


def test_a_canceled_job_wakes_its_subscriber(ledger: Ledger, redis: Redis) -> None:
    job = create_job(ledger)
    with Completions(redis).subscribe(job.id) as ended:
        assert ended.wait(TIMEOUT)
        ended.clear()
        ledger.cancel(job.id)

        assert ended.wait(TIMEOUT)


def test_a_lost_connection_is_restored(ledger: Ledger, redis: Redis, server: fakeredis.FakeServer) -> None:
    job = create_job(ledger)
    server.connected = False
    with Completions(redis).subscribe(job.id) as ended:
        time.sleep(0.1)
        server.connected = True

        assert ended.wait(TIMEOUT)


def test_the_listener_thread_ends_without_subscribers(ledger: Ledger, redis: Redis) -> None:
    job = create_job(ledger)
    with Completions(redis).subscribe(job.id) as ended:
        assert ended.wait(TIMEOUT)

    deadline = time.monotonic() + TIMEOUT
    while any(thread.name == "completions" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
