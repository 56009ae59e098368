"""The whole service over HTTP: real Redis, real worker, demo model."""

from __future__ import annotations

import http.client
import json
import signal
import urllib.request
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psutil
import pytest
from prometheus_client.parser import text_string_to_metric_families

from common.settings import Settings
from tests.support.archives import zipped
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


def test_the_metrics_show_the_captioned_image_and_the_worker(service: Service) -> None:
    service.settled(service.post_image(encoded(drawing("olive", (210, 300))))[1]["id"])

    with urllib.request.urlopen(f"{service.url}/metrics") as answer:
        families = {family.name: family for family in text_string_to_metric_families(answer.read().decode())}

    def values(name: str) -> list[float]:
        return [sample.value for sample in families[name].samples]

    assert values("captiond_workers") == [1]
    assert values("captiond_worker_memory_bytes")[0] > 100e6
    assert 0 < values("captiond_redis_memory_bytes")[0] < values("captiond_redis_memory_limit_bytes")[0]
    assert sum(values("captiond_jobs_ended")) >= 1
    assert max(values("captiond_model_call_seconds")) >= 1


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


def test_the_pictures_of_an_archive_are_captioned(service: Service) -> None:
    files = {f"summer/{number}.jpg": image for number, image in enumerate(numbered(12))}
    request = urllib.request.Request(
        f"{service.url}/v1/batches", data=zipped(files), headers={"Content-Type": "application/zip"}
    )
    status, batch = service.send(request)
    assert status == 202

    wait_until(lambda: service.get(batch["urls"]["self"])[1]["status"] == "completed", service.log)

    page = service.get(batch["urls"]["jobs"])[1]
    assert [(job["custom_id"], job["status"]) for job in page["jobs"]] == [(name, "succeeded") for name in files]


def test_an_open_batch_is_filled_sealed_and_deleted(service: Service) -> None:
    def send(path: str, data: bytes, media: str) -> tuple[int, dict[str, Any]]:
        return service.send(urllib.request.Request(service.url + path, data=data, headers={"Content-Type": media}))

    _, batch = send("/v1/batches", b'{"name": "Holidays"}', "application/json")
    image = numbered(9)[4]
    answers = [send(f"{batch['urls']['items']}?custom_id=a/b.jpg", image, "image/jpeg") for _ in range(3)]
    _, sealed = send(batch["urls"]["seal"], b"", "application/json")
    service.settled(answers[0][1]["id"])
    completed = service.get(batch["urls"]["self"])[1]
    with urllib.request.urlopen(
        urllib.request.Request(service.url + batch["urls"]["self"], method="DELETE")
    ) as response:
        deleted = response.status

    assert [status for status, _ in answers] == [202, 200, 200]
    assert len({job["id"] for _, job in answers}) == 1
    assert (batch["status"], sealed["request_counts"]["total"]) == ("open", 1)
    assert (completed["status"], deleted) == ("completed", 204)
    assert service.get(batch["urls"]["self"])[0] == service.get(answers[0][1]["urls"]["self"])[0] == 410


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
    worker, supervisor = psutil.Process(service.worker_pid()), psutil.Process(service.process.pid)

    assert worker.nice() > supervisor.nice()


def test_a_killed_worker_is_replaced_and_its_jobs_are_captioned(tmp_path: Path) -> None:
    service = Service(tmp_path / "data", lease_seconds=3).start()
    try:
        ids = [service.post_image(image)[1]["id"] for image in numbered(30)]
        worker = service.worker_pid()
        _kill(worker)

        wait_until(lambda: "captioning with demo" in service.log().split("killed by SIGKILL")[-1], service.log)
        assert {service.settled(job_id)["status"] for job_id in ids} == {"succeeded"}
    finally:
        service.stop()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_waiting_jobs_are_captioned_after_a_restart(tmp_path: Path, number: signal.Signals) -> None:
    data = tmp_path / "my data #1, 100% фото?"  # characters with a meaning in URLs
    service = Service(data, lease_seconds=3).start()
    ids = [service.post_image(image)[1]["id"] for image in numbered(40)]

    service.stop(number)
    restarted = Service(data, lease_seconds=3).start()

    try:
        assert {restarted.settled(job_id)["status"] for job_id in ids} == {"succeeded"}
    finally:
        assert restarted.stop() == 0


def _kill(pid: int) -> None:
    import os

    os.kill(pid, signal.SIGKILL)
