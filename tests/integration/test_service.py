"""The whole service over HTTP: real Redis, real worker, demo model."""

from __future__ import annotations

import http.client
import signal
from pathlib import Path

import psutil
import pytest

from common.settings import Settings
from tests.support.images import drawing, encoded, numbered
from tests.support.service import Service, wait_until


def test_an_image_is_captioned(service: Service) -> None:
    status, job = service.post_image(encoded(drawing("navy", (200, 300))))

    assert status == 202
    done = service.settled(job["id"])
    assert done["status"] == "succeeded"
    assert len(done["output"]["caption"].split()) >= 3
    assert done["model"]["demo"] is True
    assert 0 < done["output"]["confidence"] < Settings().unsure_below
    assert done["output"]["unsure"] is True  # the model knows photographs, not drawings


def test_a_repeated_image_gets_the_cached_caption(service: Service) -> None:
    image = numbered(7)[3]
    first = service.settled(service.post_image(image)[1]["id"])

    status, again = service.post_image(image)

    assert (status, again["cached"]) == (201, True)
    assert again["output"] == first["output"]


def test_a_request_with_prefer_wait_returns_the_caption(service: Service) -> None:
    status, job = service.post_image(numbered(5)[2], Prefer="wait=30")

    assert (status, job["status"]) == (201, "succeeded")


def test_idle_connections_do_not_block_new_clients(service: Service) -> None:
    connections = [http.client.HTTPConnection("127.0.0.1", service.port, timeout=30) for _ in range(200)]
    for client in connections:
        client.request("GET", "/healthz")
        assert client.getresponse().read()

    assert service.get("/healthz")[0] == 200
    for client in connections:
        client.close()


def test_the_worker_has_a_lower_priority_than_the_supervisor(service: Service) -> None:
    assert service.process is not None
    worker, supervisor = psutil.Process(_pid_of_worker(service)), psutil.Process(service.process.pid)

    assert worker.nice() > supervisor.nice()


def test_a_killed_worker_is_replaced_and_its_jobs_are_captioned(tmp_path: Path) -> None:
    service = Service(tmp_path / "data", lease_seconds=3).start()
    try:
        ids = [service.post_image(image)[1]["id"] for image in numbered(30)]
        worker = _pid_of_worker(service)
        _kill(worker)

        wait_until(lambda: "captioning with demo" in service.log().split("killed by SIGKILL")[-1], service.log)
        assert {service.settled(job_id)["status"] for job_id in ids} == {"succeeded"}
    finally:
        service.stop()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_waiting_jobs_are_captioned_after_a_restart(tmp_path: Path, number: signal.Signals) -> None:
    service = Service(tmp_path / "data", lease_seconds=3).start()
    ids = [service.post_image(image)[1]["id"] for image in numbered(40)]

    service.stop(number)
    restarted = Service(tmp_path / "data", lease_seconds=3).start()

    try:
        assert {restarted.settled(job_id)["status"] for job_id in ids} == {"succeeded"}
    finally:
        assert restarted.stop() == 0


def _pid_of_worker(service: Service) -> int:
    from common.ledger import Components, connect

    settings = Settings(redis_url=f"unix://{service.data / 'redis' / 'redis.sock'}")
    (worker,) = Components(connect(settings.redis_location), settings).workers.alive()
    return int(worker.name.rsplit("-", 1)[1])


def _kill(pid: int) -> None:
    import os

    os.kill(pid, signal.SIGKILL)
