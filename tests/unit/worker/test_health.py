"""The health check of a worker's container."""

from __future__ import annotations

import socket

import fakeredis
import pytest

from common.ledger import Worker, Workers
from common.settings import Settings
from tests.support.clock import Clock
from tests.unit.worker.fakes import MODEL
from worker.health import is_healthy
from worker.runtime import WorkerRuntime


@pytest.mark.parametrize("liveness", [False, True])
def test_a_worker_is_healthy_while_it_sends_heartbeats(
    runtime: WorkerRuntime, workers: Workers, settings: Settings, clock: Clock, liveness: bool
) -> None:
    before = is_healthy(workers, liveness=liveness)
    runtime.heartbeat()
    after = is_healthy(workers, liveness=liveness)
    clock.advance(settings.ready_seconds + 1)

    assert (before, after, is_healthy(workers, liveness=liveness)) == (False, True, False)


def test_a_worker_of_another_host_does_not_count(workers: Workers) -> None:
    workers.announce(Worker(name=f"other-{socket.gethostname()}-1", model=MODEL))

    assert not is_healthy(workers)


def test_only_liveness_does_not_need_redis(workers: Workers, server: fakeredis.FakeServer) -> None:
    server.connected = False

    assert (is_healthy(workers), is_healthy(workers, liveness=True)) == (False, True)
