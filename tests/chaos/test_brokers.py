"""Faults of the Celery broker, Redis or RabbitMQ: messages may be lost, jobs are not."""

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
from tests.chaos.conftest import LEASE_SECONDS
from tests.chaos.test_workers import supervise, wait_for_captions
from tests.support import rabbitmq
from tests.support.processes import Parts, kill
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

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"

    def start(self) -> None:
        server = find_server() or "redis-server"
        self._process = self._parts.start([server, "--port", str(self.port), "--save", "", "--dir", "/tmp"])

    def kill(self) -> None:
        kill(self._process)

    def stop(self) -> None:
        """Nothing to do: `Parts` stops the process."""


@pytest.fixture(params=["redis", "rabbitmq"])
def broker(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[Parts, Broker]]:
    """The service's processes, and the running broker that they use."""
    backend: Broker
    if request.param == "rabbitmq":
        server = rabbitmq.find_server()
        if server is None:
            pytest.skip("rabbitmq-server is not installed.")
        backend = rabbitmq.RabbitMQ(tmp_path / "rabbitmq", server)
        parts = Parts(tmp_path, lease_seconds=LEASE_SECONDS, broker_url=backend.url)
    else:
        parts = Parts(tmp_path, lease_seconds=LEASE_SECONDS)
        backend = RedisBroker(parts)
        parts.settings = parts.settings.model_copy(update={"broker_url": backend.url})
    backend.start()
    wait_until(lambda: accepts_connections(backend.port))
    yield parts, backend
    parts.stop()
    backend.stop()


def accepts_connections(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_jobs_survive_a_killed_broker(
    broker: tuple[Parts, Broker], images: list[bytes], undisturbed: dict[str, str], request: pytest.FixtureRequest
) -> None:
    parts, backend = broker
    _, web, worker = parts.start_all()
    account = parts.account()
    account.send(images[:150])
    wait_for_captions(account, 20)
    kill(worker)
    worker = parts.start_worker()
    wait_for_captions(account, 20)
    backend.kill()
    for image in images[150:160]:
        assert account.offer(image)[0] == 202  # recorded in the ledger; the recovery notifies later
    time.sleep(2)
    backend.start()

    # After a RabbitMQ outage, Celery's consumer may get no messages; the worker then exits within a minute.
    supervise(parts, account, worker)

    outcome = account.close(f"worker and broker killed, {request.node.callspec.id} as broker", undisturbed)
    assert outcome.kept and outcome.succeeded == 160
    assert web.poll() is None


def test_jobs_survive_when_every_message_is_lost_for_a_minute(
    parts: Parts, images: list[bytes], undisturbed: dict[str, str]
) -> None:
    lossy_flag = parts.folder / "losing"
    parts.environment["LOSING"] = str(lossy_flag)
    app = "tests.chaos.hooks.lossy_broker"
    parts.start_redis()
    parts.start_web(app)
    worker = parts.start_worker(app)
    parts.wait_ready()
    account = parts.account()
    account.send(images[:40])
    wait_until(account.settled, account.look)
    lossy_flag.touch()
    deadline = time.monotonic() + 60
    account.send(images[40:100])
    for image in images[100:110]:
        assert account.offer(image)[0] == 202
        time.sleep(1)
    assert account.look()[Status.SUCCEEDED] == 40, "a message was delivered"
    time.sleep(max(0.0, deadline - time.monotonic()))
    lossy_flag.unlink()

    # A worker without notifications for a minute exits while jobs wait.
    supervise(parts, account, worker, app)

    outcome = account.close("every message lost for a minute", undisturbed)
    assert outcome.kept and outcome.succeeded == 110
    assert {job.attempts for job in account.jobs()} == {1}
