"""The same with either broker: messages may be lost with it, jobs are not."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

import pytest

from cli.redis_server import find_server
from cli.serve import free_port
from common.jobs import Status
from tests.chaos.runs import LEASE
from tests.chaos.test_workers import tend, wait_for_captions
from tests.support import rabbitmq
from tests.support.processes import ServiceProcesses, kill
from tests.support.service import wait_until


class Broker(Protocol):
    port: int

    @property
    def url(self) -> str: ...
    def start(self) -> None: ...
    def kill(self) -> None: ...
    def stop(self) -> None: ...


class OtherRedis:
    """A Redis beside the ledger's, which forgets all messages when it is killed."""

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
        """`ServiceProcesses` does."""


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[ServiceProcesses, Broker]]:
    """The service's processes, with their messages on a broker that is started already."""
    chosen: Broker
    if request.param == "rabbitmq":
        server = rabbitmq.find_server()
        if server is None:
            pytest.skip("rabbitmq-server is not installed.")
        chosen = rabbitmq.RabbitMQ(tmp_path / "rabbitmq", server)
        processes = ServiceProcesses(tmp_path, lease_seconds=LEASE, broker_url=chosen.url)
    else:
        processes = ServiceProcesses(tmp_path, lease_seconds=LEASE)
        chosen = OtherRedis(processes)
        processes.settings = processes.settings.model_copy(update={"broker_url": chosen.url})
    chosen.start()
    wait_until(lambda: listens(chosen.port))
    yield processes, chosen
    processes.stop()
    chosen.stop()


def listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_broker_that_is_killed(
    broker: tuple[ServiceProcesses, Broker],
    pictures: list[bytes],
    undisturbed: dict[str, str],
    request: pytest.FixtureRequest,
) -> None:
    processes, chosen = broker
    _, web, worker = processes.start_all()
    audit = processes.audit()
    audit.send(pictures[:150])
    wait_for_captions(audit, 20)
    kill(worker)
    worker = processes.start_worker()
    wait_for_captions(audit, 20)
    chosen.kill()
    for picture in pictures[150:160]:
        assert audit.submit(picture)[0] == 202  # the ledger has them; the recovery will notify
    time.sleep(2)
    chosen.start()

    # With RabbitMQ, Celery's consumer may stay deaf after an outage; the worker ends itself within a minute then.
    tend(processes, audit, worker)

    outcome = audit.finish(f"worker and broker killed, {request.node.callspec.id} as broker", undisturbed)
    assert outcome.ok and outcome.succeeded == 160
    assert web.poll() is None


def test_every_message_is_lost_for_a_minute(
    processes: ServiceProcesses, pictures: list[bytes], undisturbed: dict[str, str]
) -> None:
    losing = processes.folder / "losing"
    processes.environment["LOSING"] = str(losing)
    app = "tests.chaos.hooks.lossy_broker"
    processes.start_redis()
    processes.start_web(app)
    worker = processes.start_worker(app)
    processes.wait_ready()
    audit = processes.audit()
    audit.send(pictures[:40])
    wait_until(audit.settled, audit.counts)
    losing.touch()
    ends = time.monotonic() + 60
    audit.send(pictures[40:100])
    for picture in pictures[100:110]:
        assert audit.submit(picture)[0] == 202
        time.sleep(1)
    assert audit.counts()[Status.SUCCEEDED] == 40, "a message came through"
    time.sleep(max(0.0, ends - time.monotonic()))
    losing.unlink()

    # A worker that gets no notification for a minute though jobs wait ends itself.
    tend(processes, audit, worker, app)

    outcome = audit.finish("every message lost for a minute", undisturbed)
    assert outcome.ok and outcome.succeeded == 110
    assert {job.attempts for job in audit.jobs()} == {1}
