"""Whatever is killed, every accepted picture is captioned as it would have been undisturbed, and stays so."""

from __future__ import annotations

import random
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from common.ledger import connect
from tests.support.account import Account, different
from tests.support.parts import Parts, kill
from tests.support.service import wait_until

pytestmark = pytest.mark.slow

#: Pictures in the large runs.
MANY = 2000
LEASE = 3.0


@pytest.fixture
def parts(tmp_path: Path) -> Iterator[Parts]:
    running = Parts(tmp_path, lease_seconds=LEASE)
    yield running
    running.stop()


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> dict[int, list[str | None]]:
    """The captions of a run in which nothing happens."""
    running = Parts(tmp_path_factory.mktemp("undisturbed"))
    running.start_all()
    account = Account(running)
    try:
        for first in range(0, MANY, 500):
            account.send(different(MANY)[first : first + 500])
        assert account.settle() == {"succeeded": MANY}
        return {MANY: account.captions()}
    finally:
        running.stop()


def send_all(account: Account, count: int) -> None:
    pictures = different(count)
    for first in range(0, count, 500):
        account.send(pictures[first : first + 500])


def assert_kept(account: Account, expected: list[str | None]) -> None:
    """None lost, none changed after it was written, and the same captions."""
    assert account.settle() == {"succeeded": len(expected)}
    assert account.rewritten == set()
    assert account.captions() == expected


def test_a_worker_that_is_killed_twenty_times(parts: Parts, undisturbed: dict[int, list[str | None]]) -> None:
    _, _, worker = parts.start_all()
    account = Account(parts)
    send_all(account, MANY)
    for _ in range(20):
        time.sleep(random.uniform(0.2, 1.5))
        account.look()
        kill(worker)
        worker = parts.start_worker()
        wait_until(lambda: parts.get("/readyz")[0] == 200, parts.log)

    assert_kept(account, undisturbed[MANY])


def test_redis_that_is_killed_three_times(parts: Parts, undisturbed: dict[int, list[str | None]]) -> None:
    redis, web, worker = parts.start_all()
    account = Account(parts)
    send_all(account, MANY)
    for _ in range(3):
        time.sleep(3)
        account.look()
        kill(redis)
        time.sleep(2)
        redis = parts.start_redis()
        parts.wait_ready()

    assert_kept(account, undisturbed[MANY])
    assert (web.poll(), worker.poll()) == (None, None)


def test_bells_that_were_never_rung(parts: Parts, undisturbed: dict[int, list[str | None]]) -> None:
    """As a web server leaves them that is killed between the ledger's write and the message."""
    parts.start_redis()
    parts.start_web()
    wait_until(lambda: parts.get("/healthz")[0] == 200 and parts.get("/v1/jobs")[0] == 200, parts.log)
    account = Account(parts)
    account.send(different(MANY)[:100])
    assert connect(parts.settings.redis_location).delete("captiond") == 1  # the list of messages
    parts.start_worker()

    assert_kept(account, undisturbed[MANY][:100])


def test_a_worker_that_sleeps_past_its_lease(parts: Parts, undisturbed: dict[int, list[str | None]]) -> None:
    _, _, sleeper = parts.start_all()
    account = Account(parts)
    account.send(different(MANY)[:500])
    wait_until(lambda: account.look()["succeeded"] > 20, parts.log)
    sleeper.send_signal(signal.SIGSTOP)
    parts.start_worker()
    assert account.settle() == {"succeeded": 500}
    sleeper.send_signal(signal.SIGCONT)
    time.sleep(3)

    assert_kept(account, undisturbed[MANY][:500])


def test_a_rolling_restart(parts: Parts, undisturbed: dict[int, list[str | None]]) -> None:
    _, _, old = parts.start_all()
    account = Account(parts)
    account.send(different(MANY)[:500])
    for _ in range(3):
        new = parts.start_worker()
        time.sleep(4)
        old.terminate()
        assert old.wait(60) == 0
        old = new

    assert_kept(account, undisturbed[MANY][:500])
