"""Faults of the Celery broker, Redis or RabbitMQ: messages may be lost, jobs are not."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from benchmarks.processes import kill
from cli.redis_server import find_server
from cli.serve import free_port
from common.jobs import Status
from tests.chaos.runs import LEASE_SECONDS
from tests.chaos.test_workers import supervise, wait_for_captions
from tests.support import rabbitmq
from tests.support.processes import ServiceProcesses
from tests.support.service import wait_until


class Broker(Protocol):
    port: int

    @property
    def url(self) -> str: ...
    def start(self) -> None: ...
    def kill(self) -> None: ...
    def stop(self) -> None: ...


class RedisBroker:
    """A second Redis without persistence, which loses all messages when killed."""

    def __init__(self, processes: ServiceProcesses) -> None:
        self._parts = processes
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        server = find_server() or "redis-server"
        self._process = self._parts.start([server, "--port", str(self.port), "--save", "", "--dir", "/tmp"])

    def kill(self) -> None:
        kill(self._process)

    def stop(self) -> None:
        """Nothing to do: `ServiceProcesses` stops the process."""


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[ServiceProcesses, Broker]]:
    """The service's processes, and the running broker that they use."""
    backend: Broker
    if request.param == "rabbitmq":
        server = rabbitmq.find_server()
        if server is None:
            pytest.skip("rabbitmq-server is not installed.")
        backend = rabbitmq.RabbitMQ(tmp_path / "rabbitmq", server)
        processes = ServiceProcesses(tmp_path, lease_seconds=LEASE_SECONDS, broker_url=backend.url)
    else:
        processes = ServiceProcesses(tmp_path, lease_seconds=LEASE_SECONDS)
        backend = RedisBroker(processes)
        processes.settings = processes.settings.model_copy(update={"broker_url": backend.url})
    backend.start()
    wait_until(lambda: accepts_connections(backend.port))
    yield processes, backend
    processes.stop()
    backend.stop()


def accepts_connections(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_jobs_survive_a_killed_broker(
    broker: tuple[ServiceProcesses, Broker],
    images: list[bytes],
    undisturbed: dict[str, str],
    request: pytest.FixtureRequest,
) -> None:
    processes, backend = broker
    _, web, worker = processes.start_all()
    audit = processes.audit()
    audit.send(images[:150])
    wait_for_captions(audit, 20)
    kill(worker)
    worker = processes.start_worker()
    wait_for_captions(audit, 20)
    backend.kill()
    for image in images[150:160]:
        assert audit.submit(image)[0] == 202  # recorded in the ledger; the recovery notifies later
    time.sleep(2)
    backend.start()

    # After a RabbitMQ outage, Celery's consumer may get no messages; the worker then exits within a minute.
    supervise(processes, audit, worker)

    outcome = audit.finish(f"worker and broker killed, {request.node.callspec.id} as broker", undisturbed)
    assert outcome.ok and outcome.succeeded == 160
    assert web.poll() is None


def test_jobs_survive_when_every_message_is_lost_for_a_minute(
    processes: ServiceProcesses, images: list[bytes], undisturbed: dict[str, str]
) -> None:
    lossy_flag = processes.folder / "losing"
    processes.environment["LOSING"] = str(lossy_flag)
    app = "tests.chaos.hooks.lossy_broker"
    processes.start_redis()
    processes.start_web(app)
    worker = processes.start_worker(app)
    processes.wait_ready()
    audit = processes.audit()
    audit.send(images[:40])
    wait_until(audit.settled, audit.counts)
    lossy_flag.touch()
    deadline = time.monotonic() + 60
    audit.send(images[40:100])
    for image in images[100:110]:
        assert audit.submit(image)[0] == 202
        time.sleep(1)
    assert audit.counts()[Status.SUCCEEDED] == 40, "a message was delivered"
    time.sleep(max(0.0, deadline - time.monotonic()))
    lossy_flag.unlink()

    # A worker without notifications for a minute exits while jobs wait.
    supervise(processes, audit, worker, app)

    outcome = audit.finish("every message lost for a minute", undisturbed)
    assert outcome.ok and outcome.succeeded == 110
    assert {job.attempts for job in audit.jobs()} == {1}
