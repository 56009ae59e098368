"""Redis is killed, or its disk or memory is full: accepted jobs are not lost, further requests are rejected."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import RedisError

from benchmarks.processes import kill
from common.jobs import Status
from common.ledger import connect
from tests.chaos.runs import LARGE_RUN_IMAGES, LEASE_SECONDS
from tests.chaos.test_web import fill, small_disk
from tests.support.processes import ServiceProcesses
from tests.support.service import wait_until

#: Images sent one by one while Redis is killed and restarted.
SINGLE_IMAGES = 200
UNAVAILABLE = {(503, "/problems/store-unavailable")}


@pytest.mark.parametrize("fsync", ["everysec", "always"])
def test_jobs_survive_redis_killed_three_times(
    processes: ServiceProcesses, images: list[bytes], undisturbed: dict[str, str], fsync: str
) -> None:
    count = LARGE_RUN_IMAGES if fsync == "everysec" else 500
    redis, web, worker = processes.start_all(fsync)
    audit, stop = processes.audit(), threading.Event()
    audit.send(images[: count - SINGLE_IMAGES])

    def send_images() -> None:
        for image in images[count - SINGLE_IMAGES : count]:
            audit.submit(image)
            if stop.wait(0.05):
                return

    sender = threading.Thread(target=send_images)
    sender.start()
    for _ in range(3):
        time.sleep(3)
        kill(redis)
        time.sleep(2)
        redis = processes.start_redis(fsync)
        processes.wait_ready()
    stop.set()
    sender.join()

    outcome = audit.finish(f"Redis SIGKILLed 3 times, appendfsync {fsync}", undisturbed)
    assert outcome.ok and outcome.succeeded == len(audit.accepted) > count - SINGLE_IMAGES
    assert set(audit.refused) == UNAVAILABLE
    assert (web.poll(), worker.poll()) == (None, None)


@pytest.fixture
def disk(processes: ServiceProcesses) -> Iterator[Path]:
    """A 64 MB file system for the files of Redis."""
    yield from small_disk(processes.redis_folder, "64m")


def test_jobs_survive_redis_on_a_full_disk(
    processes: ServiceProcesses, disk: Path, images: list[bytes], undisturbed: dict[str, str]
) -> None:
    _, web, worker = processes.start_all()
    audit = processes.audit()
    audit.send(images[:150])
    wait_until(lambda: audit.counts()[Status.SUCCEEDED] > 20, audit.counts)
    filler = fill(disk)
    wait_until(lambda: not accepts_writes(processes), processes.log)
    for image in images[150:160]:
        audit.submit(image)
    assert audit.counts()[Status.QUEUED]
    time.sleep(2 * LEASE_SECONDS)
    filler.unlink()
    wait_until(lambda: accepts_writes(processes), processes.log)
    audit.send(images[150:170])

    outcome = audit.finish("disk of Redis full", undisturbed)
    assert outcome.ok and outcome.succeeded == len(audit.accepted) == 170
    assert dict(audit.refused) == {(503, "/problems/store-unavailable"): 10}
    assert (web.poll(), worker.poll()) == (None, None)


def test_jobs_survive_redis_without_memory(
    processes: ServiceProcesses, images: list[bytes], undisturbed: dict[str, str]
) -> None:
    _, web, worker = processes.start_all()
    audit, redis = processes.audit(), connect(processes.settings.redis_location)
    audit.send(images[:150])
    wait_until(lambda: audit.counts()[Status.SUCCEEDED] > 20, audit.counts)
    redis.config_set("maxmemory", "1mb")
    for image in images[150:160]:
        audit.submit(image)
    time.sleep(2 * LEASE_SECONDS)
    held = audit.counts()[Status.PROCESSING]
    redis.config_set("maxmemory", "0")
    audit.send(images[150:170])

    outcome = audit.finish("memory of Redis full", undisturbed)
    assert held
    assert outcome.ok and outcome.succeeded == len(audit.accepted) == 170
    assert dict(audit.refused) == {(503, "/problems/store-unavailable"): 10}
    assert (web.poll(), worker.poll()) == (None, None)


def accepts_writes(processes: ServiceProcesses) -> bool:
    """Whether Redis accepts writes; with a full disk it even rejects PING."""
    try:
        return bool(connect(processes.settings.redis_location).set("probe", 1, ex=1))
    except RedisError:
        return False
