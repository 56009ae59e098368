"""Redis is killed, and has no room on its disk or in its memory: nothing it accepted is lost, the rest is refused."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import RedisError

from common.jobs import Status
from common.ledger import connect
from tests.chaos.conftest import LEASE, MANY
from tests.chaos.test_web import fill, small_disk
from tests.support.processes import Parts, kill
from tests.support.service import wait_until

#: Pictures sent one by one while Redis comes and goes.
SINGLE = 200
AWAY = {(503, "/problems/store-unavailable")}


@pytest.mark.parametrize("fsync", ["everysec", "always"])
def test_redis_that_is_killed_three_times(
    parts: Parts, pictures: list[bytes], undisturbed: dict[str, str], fsync: str
) -> None:
    count = MANY if fsync == "everysec" else 500
    redis, web, worker = parts.start_all(fsync)
    account, over = parts.account(), threading.Event()
    account.send(pictures[: count - SINGLE])

    def send_on() -> None:
        for picture in pictures[count - SINGLE : count]:
            account.offer(picture)
            if over.wait(0.05):
                return

    sender = threading.Thread(target=send_on)
    sender.start()
    for _ in range(3):
        time.sleep(3)
        kill(redis)
        time.sleep(2)
        redis = parts.start_redis(fsync)
        parts.wait_ready()
    over.set()
    sender.join()

    outcome = account.close(f"Redis SIGKILLed 3 times, appendfsync {fsync}", undisturbed)
    assert outcome.kept and outcome.succeeded == len(account.accepted) > count - SINGLE
    assert set(account.refused) == AWAY
    assert (web.poll(), worker.poll()) == (None, None)


@pytest.fixture
def disk(parts: Parts) -> Iterator[Path]:
    """Redis' own, of 64 megabytes."""
    yield from small_disk(parts.redis_folder, "64m")


def test_redis_on_a_full_disk(parts: Parts, disk: Path, pictures: list[bytes], undisturbed: dict[str, str]) -> None:
    _, web, worker = parts.start_all()
    account = parts.account()
    account.send(pictures[:150])
    wait_until(lambda: account.look()[Status.SUCCEEDED] > 20, account.look)
    filler = fill(disk)
    wait_until(lambda: not store_takes(parts), parts.log)
    for picture in pictures[150:160]:
        account.offer(picture)
    assert account.look()[Status.QUEUED]
    time.sleep(2 * LEASE)
    filler.unlink()
    wait_until(lambda: store_takes(parts), parts.log)
    account.send(pictures[150:170])

    outcome = account.close("disk of Redis full", undisturbed)
    assert outcome.kept and outcome.succeeded == len(account.accepted) == 170
    assert dict(account.refused) == {(503, "/problems/store-unavailable"): 10}
    assert (web.poll(), worker.poll()) == (None, None)


def test_redis_without_memory(parts: Parts, pictures: list[bytes], undisturbed: dict[str, str]) -> None:
    _, web, worker = parts.start_all()
    account, redis = parts.account(), connect(parts.settings.redis_location)
    account.send(pictures[:150])
    wait_until(lambda: account.look()[Status.SUCCEEDED] > 20, account.look)
    redis.config_set("maxmemory", "1mb")
    for picture in pictures[150:160]:
        account.offer(picture)
    time.sleep(2 * LEASE)
    held = account.look()[Status.PROCESSING]
    redis.config_set("maxmemory", "0")
    account.send(pictures[150:170])

    outcome = account.close("memory of Redis full", undisturbed)
    assert held
    assert outcome.kept and outcome.succeeded == len(account.accepted) == 170
    assert dict(account.refused) == {(503, "/problems/store-unavailable"): 10}
    assert (web.poll(), worker.poll()) == (None, None)


def store_takes(parts: Parts) -> bool:
    """Whether Redis takes a write; when it does not, it refuses even PING."""
    try:
        return bool(connect(parts.settings.redis_location).set("probe", 1, ex=1))
    except RedisError:
        return False
