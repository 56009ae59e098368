"""Redis is killed, or its disk or memory is full: accepted jobs are not lost, further requests are rejected."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import RedisError

from common.jobs import Status
from common.ledger import connect
from tests.chaos.conftest import LARGE_RUN_IMAGES, LEASE_SECONDS
from tests.chaos.test_web import fill, small_disk
from tests.support.processes import Parts, kill
from tests.support.service import wait_until

#: Images sent one by one while Redis is killed and restarted.
SINGLE_IMAGES = 200
UNAVAILABLE = {(503, "/problems/store-unavailable")}


@pytest.mark.parametrize("fsync", ["everysec", "always"])
def test_jobs_survive_redis_killed_three_times(
    parts: Parts, images: list[bytes], undisturbed: dict[str, str], fsync: str
) -> None:
    count = LARGE_RUN_IMAGES if fsync == "everysec" else 500
    redis, web, worker = parts.start_all(fsync)
    account, stop = parts.account(), threading.Event()
    account.send(images[: count - SINGLE_IMAGES])

    def send_images() -> None:
        for image in images[count - SINGLE_IMAGES : count]:
            account.offer(image)
            if stop.wait(0.05):
                return

    sender = threading.Thread(target=send_images)
    sender.start()
    for _ in range(3):
        time.sleep(3)
        kill(redis)
        time.sleep(2)
        redis = parts.start_redis(fsync)
        parts.wait_ready()
    stop.set()
    sender.join()

    outcome = account.close(f"Redis SIGKILLed 3 times, appendfsync {fsync}", undisturbed)
    assert outcome.kept and outcome.succeeded == len(account.accepted) > count - SINGLE_IMAGES
    assert set(account.refused) == UNAVAILABLE
    assert (web.poll(), worker.poll()) == (None, None)


@pytest.fixture
def disk(parts: Parts) -> Iterator[Path]:
    """A 64 MB file system for the files of Redis."""
    yield from small_disk(parts.redis_folder, "64m")


def test_jobs_survive_redis_on_a_full_disk(
    parts: Parts, disk: Path, images: list[bytes], undisturbed: dict[str, str]
) -> None:
    _, web, worker = parts.start_all()
    account = parts.account()
    account.send(images[:150])
    wait_until(lambda: account.look()[Status.SUCCEEDED] > 20, account.look)
    filler = fill(disk)
    wait_until(lambda: not accepts_writes(parts), parts.log)
    for image in images[150:160]:
        account.offer(image)
    assert account.look()[Status.QUEUED]
    time.sleep(2 * LEASE_SECONDS)
    filler.unlink()
    wait_until(lambda: accepts_writes(parts), parts.log)
    account.send(images[150:170])

    outcome = account.close("disk of Redis full", undisturbed)
    assert outcome.kept and outcome.succeeded == len(account.accepted) == 170
    assert dict(account.refused) == {(503, "/problems/store-unavailable"): 10}
    assert (web.poll(), worker.poll()) == (None, None)


def test_jobs_survive_redis_without_memory(parts: Parts, images: list[bytes], undisturbed: dict[str, str]) -> None:
    _, web, worker = parts.start_all()
    account, redis = parts.account(), connect(parts.settings.redis_location)
    account.send(images[:150])
    wait_until(lambda: account.look()[Status.SUCCEEDED] > 20, account.look)
    redis.config_set("maxmemory", "1mb")
    for image in images[150:160]:
        account.offer(image)
    time.sleep(2 * LEASE_SECONDS)
    held = account.look()[Status.PROCESSING]
    redis.config_set("maxmemory", "0")
    account.send(images[150:170])

    outcome = account.close("memory of Redis full", undisturbed)
    assert held
    assert outcome.kept and outcome.succeeded == len(account.accepted) == 170
    assert dict(account.refused) == {(503, "/problems/store-unavailable"): 10}
    assert (web.poll(), worker.poll()) == (None, None)


def accepts_writes(parts: Parts) -> bool:
    """Whether Redis accepts writes; with a full disk it even rejects PING."""
    try:
        return bool(connect(parts.settings.redis_location).set("probe", 1, ex=1))
    except RedisError:
        return False
