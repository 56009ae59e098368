"""Whoever waits for a job hears when it ends."""

from __future__ import annotations

import threading
import time

import fakeredis
import pytest
from redis import Redis

from common.ledger import Completions, Ledger, completions
from tests.unit.common.ledger.jobs import CAPTION, MODEL, TIMINGS, claimed, wait_in

#: Far longer than it takes, far shorter than a person would wait.
SOON = 5


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(completions, "PAUSE", 0.05)


def test_a_caption_wakes_all_who_wait_for_it_and_nobody_else(ledger: Ledger, redis: Redis) -> None:
    job, other = wait_in(ledger), wait_in(ledger)
    heard = Completions(redis)
    with heard.subscribe(job.id) as first, heard.subscribe(job.id) as second, heard.subscribe(other.id) as third:
        for event in (first, second, third):
            assert event.wait(SOON)  # the subscription begins
            event.clear()
        ledger.commit(claimed(ledger, job), CAPTION, model=MODEL, timings=TIMINGS)

        assert first.wait(SOON) and second.wait(SOON)
        assert not third.is_set()


def test_a_canceled_job_wakes_whoever_waits(ledger: Ledger, redis: Redis) -> None:
    job = wait_in(ledger)
    with Completions(redis).subscribe(job.id) as ended:
        assert ended.wait(SOON)
        ended.clear()
        ledger.cancel(job.id)

        assert ended.wait(SOON)


def test_a_lost_connection_is_taken_up_again(ledger: Ledger, redis: Redis, server: fakeredis.FakeServer) -> None:
    job = wait_in(ledger)
    server.connected = False
    with Completions(redis).subscribe(job.id) as ended:
        time.sleep(0.1)
        server.connected = True

        assert ended.wait(SOON)


def test_nothing_listens_when_nobody_waits(ledger: Ledger, redis: Redis) -> None:
    job = wait_in(ledger)
    with Completions(redis).subscribe(job.id) as ended:
        assert ended.wait(SOON)

    deadline = time.monotonic() + SOON
    while any(thread.name == "completions" for thread in threading.enumerate()):
        assert time.monotonic() < deadline
        time.sleep(0.01)
