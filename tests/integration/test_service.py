"""The whole service over HTTP: real Redis, real worker, demo model."""

from __future__ import annotations

import http.client
import json
import signal
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psutil
import pytest

from tests.support.images import drawing, encoded, numbered
from tests.support.service import Service, wait_until


def test_an_image_is_captioned(service: Service) -> None:
    status, job = service.post_image(encoded(drawing("navy", (200, 300))))

    assert status == 202
    done = service.settled(job["id"])
    assert done["status"] == "succeeded"
    assert len(done["output"]["caption"].split()) >= 3
    assert done["model"]["demo"] is True


def test_a_repeated_image_gets_the_cached_caption(service: Service) -> None:
    image = numbered(7)[3]
    first = service.settled(service.post_image(image)[1]["id"])

    status, again = service.post_image(image)

    assert (status, again["cached"]) == (201, True)
    assert again["output"] == first["output"]


def test_a_request_with_prefer_wait_returns_the_caption(service: Service) -> None:
    status, job = service.post_image(numbered(5)[2], Prefer="wait=30")

    assert (status, job["status"]) == (201, "succeeded")


def test_options_change_the_captions(service: Service) -> None:
    image = encoded(drawing("navy", (200, 300)))

    def output(options: dict[str, Any] | None) -> dict[str, Any]:
        query = urlencode({"options": json.dumps(options)})
        job = service.settled(service.post_image(image, query)[1]["id"])
        assert (job["status"], job["options"]) == ("succeeded", options)
        return dict(job["output"])

    usual, greedy = output(None), output({"beams": 1})
    short, long = output({"max_length": 6}), output({"min_length": 20})
    several = output({"beams": 8, "captions": 8})
    inside = output({"template": "sks, {caption}!"})

    assert greedy["caption"] != usual["caption"] and greedy["alternatives"] == []
    assert len(short["caption"].split()) < len(usual["caption"].split()) < len(long["caption"].split())
    assert len({several["caption"], *(each["caption"] for each in several["alternatives"])}) == 8
    scores = [several["score"], *(each["score"] for each in several["alternatives"])]
    assert scores == sorted(scores, reverse=True)
    assert inside["caption"] == f"sks, {usual['caption']}!"
    assert [each["caption"] for each in inside["alternatives"]] == [
        f"sks, {each['caption']}!" for each in usual["alternatives"]
    ]


def test_jobs_with_different_options_are_all_captioned(service: Service) -> None:
    """They cannot share calls of the model."""
    queries = [urlencode({"options": f'{{"beams": {1 + number % 4}}}'}) for number in range(12)]
    ids = [service.post_image(image, query)[1]["id"] for image, query in zip(numbered(12), queries, strict=True)]

    assert {service.settled(job_id)["status"] for job_id in ids} == {"succeeded"}


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
    from common.settings import Settings

    settings = Settings(redis_url=f"unix://{service.data / 'redis' / 'redis.sock'}")
    (worker,) = Components(connect(settings.redis_location), settings).workers.alive()
    return int(worker.name.rsplit("-", 1)[1])


def _kill(pid: int) -> None:
    import os

    os.kill(pid, signal.SIGKILL)
