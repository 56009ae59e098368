"""A fleet: two web servers, three workers, three Redis servers with Sentinels and an S3 store, each on its own machine.

5 ms in each direction lie between them and Redis and the store. One after the other, a worker is killed, one is
replaced, the primary Redis is killed, the store is cut off, and a worker is cut off.
"""

from __future__ import annotations

import signal
import sys
import threading
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

import pytest
from redis import RedisError

from benchmarks.processes import Process, kill
from cli.redis_server import find_server
from common.jobs import Job, Status
from common.ledger import Components, connect, keys
from common.settings import Settings
from tests.chaos.runs import LEASE_SECONDS
from tests.support.audit import OUTCOMES, JobAudit, Outcome, distinct_images
from tests.support.machines import Machine, Network, can_run
from tests.support.replication import REPLICATED, SERVICE, RedisNode, monitoring
from tests.support.service import Client, wait_until

IMAGES, SENT_BEFORE = 5_000, 2_000
#: Threads that send single images to each web server during the faults.
SENDERS = 3
#: Seconds of latency in each direction.
LATENCY = 0.005
REDIS_PORT, RELAY_PORT, SENTINEL_PORT, STORE_PORT, STORE_RELAY_PORT, WEB_PORT = 6379, 6380, 26379, 5000, 5001, 8080
#: Seconds for which the store and a worker are cut off, and after which a killed Redis starts again.
STORE_AWAY, WORKER_AWAY, REDIS_AWAY = 20.0, 15.0, 8.0
#: Problems of requests during the faults.
UNAVAILABLE = ("store-unavailable", "uploads-unavailable")


class RedisMachine:
    """A machine with a Redis server, which others reach with latency, and a Sentinel."""

    def __init__(self, machine: Machine, primary: str) -> None:
        self.machine = machine
        program, address = find_server() or "redis-server", machine.address
        announced = {"replica-announce-ip": address, "replica-announce-port": str(RELAY_PORT)}
        directives = {**REPLICATED, **announced, "auto-aof-rewrite-percentage": "0"}
        if address != primary:
            directives["replicaof"] = f"{primary} {RELAY_PORT}"
        monitor = {"sentinel announce-ip": address, **monitoring(primary, RELAY_PORT, quorum=2)}
        self.redis = RedisNode(machine.folder / "redis", program, directives, machine=machine, port=REDIS_PORT)
        self.sentinel = RedisNode(machine.folder / "sentinel", program, monitor, machine=machine, port=SENTINEL_PORT)

    def start(self) -> None:
        """Start Redis, the relay through which others reach it, and the Sentinel."""
        self.redis.start()
        relay = [sys.executable, "-m", "tests.support.relay", str(RELAY_PORT), str(REDIS_PORT), str(LATENCY)]
        self.machine.start(relay)
        self.sentinel.start("--sentinel")


class Fleet:
    """All machines. `account` samples the jobs by state once a second."""

    def __init__(self, folder: Path) -> None:
        self.network = Network(folder)
        machines = [self.network.machine(f"redis-{number}") for number in range(3)]
        self.redis = [RedisMachine(machine, machines[0].address) for machine in machines]
        self.store = self.network.machine("store")
        self.webs = [self.network.machine(f"web-{number}") for number in range(2)]
        self.workers = [self.network.machine(f"worker-{number}") for number in range(3)]
        self.worker_processes: dict[int, Process] = {}
        sentinels = ",".join(f"{machine.address}:{SENTINEL_PORT}" for machine in machines)
        self.settings = Settings(
            data=folder / "data",
            redis_url=f"sentinel://{sentinels}/{SERVICE}/0",
            redis_replicas=1,
            uploads_url="s3://captiond/uploads",
            model="demo",
            precision="fp32",
            beams=1,
            lease_seconds=LEASE_SECONDS,
            insecure=True,
            port=WEB_PORT,
        )
        self._environment = {
            "AWS_ENDPOINT_URL": f"http://{self.store.address}:{STORE_RELAY_PORT}",
            "AWS_ACCESS_KEY_ID": "key",
            "AWS_SECRET_ACCESS_KEY": "secret",
            "AWS_DEFAULT_REGION": "eu-central-1",
            "OMP_NUM_THREADS": "1",
        }

    def start(self) -> None:
        """Start everything, and wait until images are accepted and three workers are alive."""
        for redis in self.redis:
            redis.start()
        self.store.start([sys.executable, "-m", "moto.server", "-H", "0.0.0.0", "-p", str(STORE_PORT)])
        relay = ["-m", "tests.support.relay", str(STORE_RELAY_PORT), str(STORE_PORT), str(LATENCY)]
        self.store.start([sys.executable, *relay])
        wait_until(self._create_bucket, self.store.log)
        wait_until(self._replicated, self.redis[0].machine.log)
        for machine in self.webs:
            settings = self.settings.model_copy(update={"host": machine.address, "data": machine.folder / "data"})
            machine.start([sys.executable, "-m", "web"], {**settings.environment(), **self._environment})
        for number in range(len(self.workers)):
            self.start_worker(number)
        wait_until(lambda: all(client.get("/readyz")[0] == 200 for client in self.clients()), self.webs[0].log)
        workers = Components(connect(self.settings.redis_location), self.settings).workers
        wait_until(lambda: len(workers.alive()) == len(self.workers), self.workers[0].log)

    def start_worker(self, number: int) -> None:
        """Start the worker of a machine."""
        machine = self.workers[number]
        settings = self.settings.model_copy(update={"data": machine.folder / "data"})
        command = [sys.executable, "-m", "celery", "-A", "worker", "worker"]
        self.worker_processes[number] = machine.start(command, {**settings.environment(), **self._environment})

    def clients(self) -> list[Client]:
        return [Client(f"http://{machine.address}:{WEB_PORT}") for machine in self.webs]

    def primary(self) -> RedisNode:
        """The Redis that a Sentinel names as primary."""
        for machine in self.redis:
            try:
                with machine.sentinel.client() as client:
                    address, _port = client.sentinel_get_master_addr_by_name(SERVICE)
            except RedisError:
                continue
            return next(each.redis for each in self.redis if each.redis.host == address)
        raise LookupError("No Sentinel answers.")

    def _create_bucket(self) -> bool:
        url = f"http://{self.store.address}:{STORE_RELAY_PORT}/captiond"
        try:
            with urllib.request.urlopen(urllib.request.Request(url, method="PUT"), timeout=5):
                return True
        except OSError:
            return False

    def _replicated(self) -> bool:
        """Whether all replicas are connected, and each Sentinel knows the replicas and the other Sentinels."""
        try:
            for machine in self.redis:
                with machine.sentinel.client() as client:
                    state = client.sentinel_master(SERVICE)
                if (state["num-slaves"], state["num-other-sentinels"]) != (2, 2):
                    return False
            with self.redis[0].redis.client() as client:
                return bool(client.info("replication")["connected_slaves"] == 2)
        except RedisError:
            return False


@dataclass
class Senders:
    """Threads that send single images until each is accepted, as a client that repeats its request does."""

    clients: Sequence[Client]
    images: Sequence[bytes]
    accepted: list[str] = field(default_factory=list)
    refused: Counter[tuple[int, str]] = field(default_factory=Counter)

    def __post_init__(self) -> None:
        count = SENDERS * len(self.clients)
        self._threads = [
            threading.Thread(target=self._run, args=(self.clients[number % len(self.clients)], number, count))
            for number in range(count)
        ]
        for thread in self._threads:
            thread.start()

    def join(self) -> None:
        for thread in self._threads:
            thread.join()

    def _run(self, client: Client, first: int, step: int) -> None:
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
        self._thread = threading.Thread(target=self._run)
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
def fleet(tmp_path: Path) -> Iterator[Fleet]:
    if not can_run():
        pytest.skip("Network namespaces need root and the program ip (Debian: iproute2).")
    running = Fleet(tmp_path)
    try:
        running.start()
        yield running
    finally:
        running.network.stop()


def test_a_fleet_loses_nothing_to_kills_upgrades_failover_and_partitions(
    fleet: Fleet, undisturbed: dict[str, str], tmp_path: Path
) -> None:
    images = distinct_images(IMAGES)
    account, faults = Account(fleet.settings), []
    audits = [JobAudit(client, fleet.settings, fleet.redis[0].machine.folder) for client in fleet.clients()]
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
    kill(fleet.worker_processes[0])
    fleet.start_worker(0)
    fault("worker replaced")
    fleet.worker_processes[1].send_signal(signal.SIGTERM)
    assert fleet.worker_processes[1].wait(60) == 0
    fleet.start_worker(1)
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
    fleet.workers[2].cut_off()
    time.sleep(WORKER_AWAY)
    fleet.workers[2].reconnect()
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
