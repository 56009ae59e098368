"""A fleet of containers on several machines loses no job to kills, an upgrade, a failover and partitions.

One after the other, a worker is killed, one is replaced, the primary Redis is killed, the store is cut off, and a
worker is cut off.
"""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest
from redis import RedisError

from common.jobs import Job, Status
from common.ledger import Components, connect, keys
from common.settings import Settings
from tests.chaos.runs import LEASE_SECONDS
from tests.support.audit import OUTCOMES, JobAudit, Outcome, distinct_images
from tests.support.fleet import Fleet
from tests.support.machines import running_network
from tests.support.podman import obstacle
from tests.support.service import Client, wait_until

pytestmark = pytest.mark.skipif(bool(obstacle("ip")), reason=f"Containers cannot run here: the test {obstacle('ip')}.")

IMAGES, SENT_BEFORE = 5_000, 2_000
#: Threads that send single images to each web server during the faults.
SENDERS = 3
#: Settings of the web servers and the workers.
SETTINGS = {"model": "demo", "precision": "fp32", "beams": 1, "lease_seconds": LEASE_SECONDS, "redis_replicas": 1}
#: Seconds for which the store and a worker are cut off, and after which a killed Redis starts again.
STORE_AWAY, WORKER_AWAY, REDIS_AWAY = 20.0, 15.0, 8.0
#: Problems of requests during the faults.
UNAVAILABLE = ("store-unavailable", "uploads-unavailable")


@dataclass
class Senders:
    """Threads that send single images until each is accepted, as a client that repeats its request does."""

    clients: Sequence[Client]
    images: Sequence[bytes]
    accepted: list[str] = field(default_factory=list)
    refused: Counter[tuple[int, str]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        count = SENDERS * len(self.clients)
        self._threads = [  # They do not keep the process alive if the test fails.
            threading.Thread(target=self._run, args=(number, count), daemon=True) for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _run(self, first: int, step: int) -> None:
        client = self.clients[first % len(self.clients)]
        for number in range(first, len(self.images), step):
            headers = {"Idempotency-Key": f"image-{number}"}
            while (response := client.post_image(self.images[number], **headers))[0] not in (200, 201, 202):
                self.refused[response[0], response[1].get("type", "no answer")] += 1
                time.sleep(1)
            self.accepted.append(response[1]["id"])


@dataclass
class Account:
    """Samples of all jobs, taken once a second by a thread until `stop`.

    `samples` has the time in seconds and the jobs by state; `rewritten` the ids of jobs whose result was seen with
    another time of completion than before.
    """

    settings: Settings
    samples: list[tuple[float, dict[Status, int]]] = field(default_factory=list)
    rewritten: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self._completed: dict[str, str] = {}
        self._started = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def elapsed(self) -> float:
        return time.monotonic() - self._started

    def stop(self) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        redis = connect(self.settings.redis_location)
        ledger = Components(redis, self.settings).ledger
        while not self._stop.wait(1):
            try:
                self.samples.append((self.elapsed(), ledger.counts()))
                ids = cast("list[str]", redis.zrange(keys.in_status(Status.SUCCEEDED), 0, -1))
                pipeline = redis.pipeline(transaction=False)
                for job_id in ids:
                    pipeline.hget(keys.job(job_id), "completed_at")
                for job_id, completed in zip(ids, pipeline.execute(), strict=True):
                    if self._completed.setdefault(job_id, completed) != completed:
                        self.rewritten.add(job_id)
            except RedisError:
                continue


@pytest.fixture
def fleet(tmp_path: Path, container_images: Mapping[str, str]) -> Iterator[Fleet]:
    with running_network(tmp_path) as network:
        running = Fleet(network, container_images, **SETTINGS)
        running.start()
        yield running


def test_a_fleet_loses_nothing_to_kills_upgrades_failover_and_partitions(
    fleet: Fleet, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    images = distinct_images(IMAGES)
    account, faults = Account(fleet.settings), []
    audits = [JobAudit(client, fleet.settings, fleet.redis[0].redis.folder) for client in fleet.clients()]
    batches = [threading.Thread(target=audit.send, args=(images[n:SENT_BEFORE:2],)) for n, audit in enumerate(audits)]
    for thread in batches:
        thread.start()
    for thread in batches:
        thread.join()
    senders = Senders(fleet.clients(), images[SENT_BEFORE:])

    def fault(name: str) -> None:
        """Wait until the fleet captions again, and record the next fault."""
        goal = account.samples[-1][1][Status.SUCCEEDED] + 300
        wait_until(lambda: account.samples[-1][1][Status.SUCCEEDED] >= min(goal, IMAGES), account.samples[-1:].copy)
        faults.append((account.elapsed(), name))

    fault("worker killed")
    fleet.workers[0].kill()
    wait_until(lambda: fleet.workers[0].pid, fleet.workers[0].logs)  # its restart policy is that of the compose file
    fault("worker replaced")
    assert fleet.replace_worker(1) == 0
    fault("primary Redis killed")
    old = fleet.primary()
    old.kill()
    time.sleep(REDIS_AWAY)
    old.start()
    fault("store cut off")
    fleet.store.cut_off()
    time.sleep(STORE_AWAY)
    fleet.store.reconnect()
    fault("worker cut off")
    fleet.worker_machines[2].cut_off()
    time.sleep(WORKER_AWAY)
    fleet.worker_machines[2].reconnect()
    senders.join()

    wait_until(audits[0].settled, audits[0].counts, timeout=300)
    time.sleep(2)  # one more sample
    account.stop()
    accepted = [*audits[0].accepted, *audits[1].accepted, *senders.accepted]
    components = Components(connect(fleet.settings.redis_location), fleet.settings)
    jobs = components.ledger.read(accepted)
    outcome = Outcome(
        f"fleet: {', '.join(name for _seconds, name in faults)}",
        accepted=len(accepted),
        succeeded=sum(job.status is Status.SUCCEEDED for job in jobs),
        failed=Counter(job.error.type.rpartition("/")[2] for job in jobs if job.error),
        lost=len(accepted) - len(jobs),
        written_twice=len(account.rewritten),
        different=_different(jobs, undisturbed),
        seconds=account.elapsed(),
    )
    OUTCOMES.append(outcome)
    draw(tmp_path / "fleet.png", account, faults)
    print(outcome, senders.refused)
    assert (outcome.lost, outcome.different, outcome.succeeded) == (0, 0, IMAGES)
    # The same image sent again, because a response was lost or was 503, did not become a second job.
    assert len(set(accepted)) == sum(components.ledger.counts().values()) == IMAGES
    assert set(senders.refused) <= {(0, "no answer"), *((503, f"/problems/{name}") for name in UNAVAILABLE)}


def _different(jobs: Sequence[Job], undisturbed: dict[str, str]) -> int:
    """Number of captions that differ from those of the undisturbed run."""
    captions = ((job.input.sha256, job.output.caption) for job in jobs if job.input and job.output)
    return sum(undisturbed.get(sha256, caption) != caption for sha256, caption in captions)


def draw(path: Path, account: Account, faults: Sequence[tuple[float, str]]) -> None:
    """Plot the jobs by state over time, with the faults."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(9, 4), layout="constrained")
    axes = figure.subplots()
    seconds = [sample[0] for sample in account.samples]
    for status in (Status.SUCCEEDED, Status.QUEUED, Status.PROCESSING):
        axes.plot(seconds, [sample[1][status] for sample in account.samples], label=status.value)
    for moment, name in faults:
        axes.axvline(moment, color="grey", linestyle=":")
        axes.text(
            moment, 0.98, name, rotation=90, fontsize=8, va="top", ha="right", transform=axes.get_xaxis_transform()
        )
    axes.set_xlabel("seconds")
    axes.set_ylabel("jobs")
    axes.legend(loc="center left")
    figure.savefig(path, dpi=120)
