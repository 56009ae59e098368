"""The primary Redis is killed: a replica becomes primary, and what was accepted is kept as far as the settings promise.

`OUTCOMES` and `LOSSES` have the figures of docs/reliability.md.
"""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path

import pytest
from redis import RedisError

from common.jobs import new_id
from common.ledger import Components, NewJob, connect
from common.settings import Settings
from tests.chaos.runs import LEASE_SECONDS, LOSSES
from tests.support.images import IMAGE
from tests.support.processes import ServiceProcesses
from tests.support.replication import ReplicatedRedis
from tests.support.service import wait_until

#: Seconds within which uploads are accepted again: the Sentinels' timeout of one second, an election, and time for a
#: busy machine.
MAX_OUTAGE = 15.0
#: Seconds for which the primary is paused: long enough for a failover, and shorter than a command's timeout.
PAUSE = 4.0
#: Seconds for which the replicas receive nothing before the primary is killed.
LAG = 3.0


@pytest.fixture
def replicated(tmp_path: Path) -> Iterator[ReplicatedRedis]:
    with ReplicatedRedis(tmp_path / "redis").running() as redis:
        yield redis


@pytest.mark.parametrize("replicas", [0, 1])
def test_the_service_continues_with_a_new_primary(
    replicated: ReplicatedRedis, tmp_path: Path, images: list[bytes], replicas: int
) -> None:
    processes = ServiceProcesses(
        tmp_path / "service", lease_seconds=LEASE_SECONDS, redis_url=replicated.url, redis_replicas=replicas
    )
    try:
        web, worker = processes.start_web(), processes.start_worker()
        processes.wait_ready()
        audit, stop = processes.audit(), threading.Event()
        audit.send(images[:300])
        accepted_at: list[float] = []

        def send_images() -> None:
            for image in images[300:1300]:
                if audit.submit(image)[0] in (201, 202):
                    accepted_at.append(time.monotonic())
                if stop.wait(0.02):
                    return

        sender = threading.Thread(target=send_images)
        sender.start()
        time.sleep(2)
        old = replicated.primary()
        old.kill()
        killed_at = time.monotonic()
        wait_until(lambda: accepted_at and accepted_at[-1] > killed_at, processes.log, timeout=60)
        outage = next(moment for moment in accepted_at if moment > killed_at) - killed_at
        first_new = audit.accepted[-1]
        wait_until(lambda: processes.get(f"/v1/jobs/{first_new}")[1].get("status") in ("processing", "succeeded"))
        captioning = time.monotonic() - killed_at
        old.start()  # with other data; the Sentinels make it a replica
        wait_until(lambda: old.client().info("replication")["role"] == "slave", old.log, timeout=60)
        time.sleep(1)
        stop.set()
        sender.join()

        audit.aof = replicated.primary().folder
        label = f"primary Redis SIGKILLed, {replicas} replicas awaited: "
        label += f"no upload accepted for {outage:.1f} s, none captioned for {captioning:.1f} s"
        outcome = audit.finish(label, {})
        assert outcome.ok and outcome.succeeded == len(audit.accepted) > 350
        assert outage < MAX_OUTAGE
        assert (web.poll(), worker.poll()) == (None, None)
    finally:
        processes.stop()


@dataclass
class Load:
    """Threads that record jobs until `stop`. `accepted` has the ids with the time of the answer."""

    settings: Settings
    accepted: list[tuple[str, float]] = field(default_factory=list)
    refused: int = 0

    def __post_init__(self) -> None:
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(4)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        ledger = Components(connect(self.settings.redis_location), self.settings).ledger
        while not self._stop.wait(0.01):
            job_id = new_id()
            try:
                ledger.create(job_id, NewJob(input=IMAGE))
            except RedisError:
                self.refused += 1
            else:
                self.accepted.append((job_id, time.monotonic()))


MIN_REPLICAS = {"min-replicas-to-write": "1", "min-replicas-max-lag": "1"}
PROMISES = pytest.mark.parametrize(
    ("awaited", "directives"), [(0, {}), (0, MIN_REPLICAS), (1, {})], ids=["none", "min-replicas", "one"]
)


@pytest.mark.parametrize("lagging", [1, 2], ids=["one-of-two", "both"])
@PROMISES
def test_what_is_lost_with_a_primary_whose_replicas_lag(
    tmp_path: Path, lagging: int, awaited: int, directives: Mapping[str, str]
) -> None:
    with ReplicatedRedis(tmp_path / "redis", directives=directives, links=True).running() as redis:
        load = Load(Settings(redis_url=redis.url, redis_replicas=awaited))
        wait_until(lambda: len(load.accepted) > 100)
        for link in redis.links[:lagging]:
            link.hold()
        time.sleep(LAG)
        old = redis.primary()
        old.kill()
        killed_at = time.monotonic()
        wait_until(lambda: redis.primary() is not old, timeout=60)
        wait_until(lambda: load.accepted[-1][1] > killed_at, timeout=60)
        load.stop()

        lost = record_losses(load, killed_at, directives, f"{lagging} of 2 replicas {LAG:.0f} s behind")
        assert not awaited or not lost


@PROMISES
def test_what_is_lost_with_a_primary_that_is_paused_and_continues(
    tmp_path: Path, awaited: int, directives: Mapping[str, str]
) -> None:
    with ReplicatedRedis(tmp_path / "redis", directives=directives).running() as redis:
        load = Load(Settings(redis_url=redis.url, redis_replicas=awaited))
        wait_until(lambda: len(load.accepted) > 100)
        old = redis.primary()
        assert old.process is not None
        old.process.send_signal(signal.SIGSTOP)
        paused_at = time.monotonic()
        time.sleep(PAUSE)
        assert redis.primary() is not old
        old.process.send_signal(signal.SIGCONT)
        wait_until(lambda: old.client().info("replication")["role"] == "slave", old.log, timeout=60)
        wait_until(lambda: load.accepted[-1][1] > paused_at, timeout=60)
        time.sleep(1)
        load.stop()

        lost = record_losses(load, paused_at, directives, f"primary paused for {PAUSE:.0f} s")
        assert not awaited or not lost


def record_losses(load: Load, since: float, directives: Mapping[str, str], label: str) -> int:
    """Count the accepted jobs that the primary does not have; add a line with them and the outage after `since`."""
    ledger = Components(connect(load.settings.redis_location), load.settings).ledger
    kept = {job.id for job in ledger.read(job_id for job_id, _moment in load.accepted)}
    lost = len({job_id for job_id, _moment in load.accepted} - kept)
    moments = sorted(moment for _id, moment in load.accepted)
    outage = max(after - before for before, after in pairwise(moments) if after > since)
    LOSSES.append(
        f"{label}, {' '.join(directives) or 'no directives'}, {load.settings.redis_replicas} replicas awaited: "
        f"accepted {len(load.accepted)}, lost {lost}, longest time without an accepted job {outage:.1f} s"
    )
    return lost
