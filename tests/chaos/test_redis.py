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
from tests.chaos.runs import LEASE, MANY
from tests.chaos.test_web import fill, small_disk
from tests.support.processes import ServiceProcesses, kill
from tests.support.service import wait_until

#: Pictures sent one by one while Redis comes and goes.
SINGLE = 200
AWAY = {(503, "/problems/store-unavailable")}


@pytest.mark.parametrize("fsync", ["everysec", "always"])
def test_redis_that_is_killed_three_times(
    processes: ServiceProcesses, pictures: list[bytes], undisturbed: dict[str, str], fsync: str
) -> None:
    count = MANY if fsync == "everysec" else 500
    redis, web, worker = processes.start_all(fsync)
    audit, over = processes.audit(), threading.Event()
    audit.send(pictures[: count - SINGLE])

    def send_on() -> None:
        for picture in pictures[count - SINGLE : count]:
            audit.submit(picture)
            if over.wait(0.05):
                return

    sender = threading.Thread(target=send_on)
    sender.start()
    for _ in range(3):
        time.sleep(3)
        kill(redis)
        time.sleep(2)
        redis = processes.start_redis(fsync)
        processes.wait_ready()
    over.set()
    sender.join()

    outcome = audit.finish(f"Redis SIGKILLed 3 times, appendfsync {fsync}", undisturbed)
    assert outcome.ok and outcome.succeeded == len(audit.accepted) > count - SINGLE
    assert set(audit.refused) == AWAY
    assert (web.poll(), worker.poll()) == (None, None)


@pytest.fixture
def disk(processes: ServiceProcesses) -> Iterator[Path]:
    """Redis' own, of 64 megabytes."""
    yield from small_disk(processes.redis_folder, "64m")


def test_redis_on_a_full_disk(
    processes: ServiceProcesses, disk: Path, pictures: list[bytes], undisturbed: dict[str, str]
) -> None:
    _, web, worker = processes.start_all()
    audit = processes.audit()
    audit.send(pictures[:150])
    wait_until(lambda: audit.counts()[Status.SUCCEEDED] > 20, audit.counts)
    filler = fill(disk)
    wait_until(lambda: not store_takes(processes), processes.log)
    for picture in pictures[150:160]:
        audit.submit(picture)
    assert audit.counts()[Status.QUEUED]
    time.sleep(2 * LEASE)
    filler.unlink()
    wait_until(lambda: store_takes(processes), processes.log)
    audit.send(pictures[150:170])

    outcome = audit.finish("disk of Redis full", undisturbed)
    assert outcome.ok and outcome.succeeded == len(audit.accepted) == 170
    assert dict(audit.refused) == {(503, "/problems/store-unavailable"): 10}
    assert (web.poll(), worker.poll()) == (None, None)


def test_redis_without_memory(processes: ServiceProcesses, pictures: list[bytes], undisturbed: dict[str, str]) -> None:
    _, web, worker = processes.start_all()
    audit, redis = processes.audit(), connect(processes.settings.redis_location)
    audit.send(pictures[:150])
    wait_until(lambda: audit.counts()[Status.SUCCEEDED] > 20, audit.counts)
    redis.config_set("maxmemory", "1mb")
    for picture in pictures[150:160]:
        audit.submit(picture)
    time.sleep(2 * LEASE)
    held = audit.counts()[Status.PROCESSING]
    redis.config_set("maxmemory", "0")
    audit.send(pictures[150:170])

    outcome = audit.finish("memory of Redis full", undisturbed)
    assert held
    assert outcome.ok and outcome.succeeded == len(audit.accepted) == 170
    assert dict(audit.refused) == {(503, "/problems/store-unavailable"): 10}
    assert (web.poll(), worker.poll()) == (None, None)


def store_takes(processes: ServiceProcesses) -> bool:
    """Whether Redis takes a write; when it does not, it refuses even PING."""
    try:
        return bool(connect(processes.settings.redis_location).set("probe", 1, ex=1))
    except RedisError:
        return False
