"""The whole service: a real Redis, a real worker, the demo model, through HTTP."""

from __future__ import annotations

import http.client
import signal
from pathlib import Path

import psutil
import pytest

from tests.support.images import drawing, encoded, numbered
from tests.support.service import Service, wait_until


def test_a_picture_gets_its_caption(service: Service) -> None:
    status, job = service.post_image(encoded(drawing("navy", (200, 300))))

    assert status == 202
    done = service.settled(job["id"])
    assert done["status"] == "succeeded"
    assert len(done["output"]["caption"].split()) >= 3
    assert done["model"]["demo"] is True


def test_the_same_picture_again_is_answered_from_the_cache(service: Service) -> None:
    picture = numbered(7)[3]
    first = service.settled(service.post_image(picture)[1]["id"])

    status, again = service.post_image(picture)

    assert (status, again["cached"]) == (201, True)
    assert again["output"] == first["output"]


def test_a_client_that_waits_gets_the_caption_at_once(service: Service) -> None:
    status, job = service.post_image(numbered(5)[2], Prefer="wait=30")

    assert (status, job["status"]) == (201, "succeeded")


def test_clients_who_keep_their_connections_keep_nobody_out(service: Service) -> None:
    kept = [http.client.HTTPConnection("127.0.0.1", service.port, timeout=30) for _ in range(200)]
    for client in kept:
        client.request("GET", "/healthz")
        assert client.getresponse().read()

    assert service.get("/healthz")[0] == 200
    for client in kept:
        client.close()


def test_the_worker_steps_back_for_those_who_answer(service: Service) -> None:
    assert service.process is not None
    worker, supervisor = psutil.Process(_pid_of_worker(service)), psutil.Process(service.process.pid)

    assert worker.nice() > supervisor.nice()


def test_a_killed_worker_is_replaced_and_its_jobs_are_captioned(tmp_path: Path) -> None:
    service = Service(tmp_path / "data", lease_seconds=3).start()
    try:
        ids = [service.post_image(picture)[1]["id"] for picture in numbered(30)]
        worker = _pid_of_worker(service)
        _kill(worker)

        wait_until(lambda: "captioning with demo" in service.log().split("killed by SIGKILL")[-1], service.log)
        assert {service.settled(job_id)["status"] for job_id in ids} == {"succeeded"}
    finally:
        service.stop()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_jobs_that_wait_when_the_service_is_stopped_are_captioned_by_the_next(
    tmp_path: Path, number: signal.Signals
) -> None:
    service = Service(tmp_path / "data", lease_seconds=3).start()
    ids = [service.post_image(picture)[1]["id"] for picture in numbered(40)]

    service.stop(number)
    again = Service(tmp_path / "data", lease_seconds=3).start()

    try:
        assert {again.settled(job_id)["status"] for job_id in ids} == {"succeeded"}
    finally:
        assert again.stop() == 0


def _pid_of_worker(service: Service) -> int:
    from common.ledger import Components, connect
    from common.settings import Settings

    settings = Settings(redis_url=f"unix://{service.data / 'redis' / 'redis.sock'}")
    (worker,) = Components(connect(settings.redis_location), settings).workers.alive()
    return int(worker.name.rsplit("-", 1)[1])


def _kill(pid: int) -> None:
    import os

    os.kill(pid, signal.SIGKILL)
