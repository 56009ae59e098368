"""Two workers with different models on one Redis."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import urlencode

from tests.support.images import numbered
from tests.support.processes import TwoModels
from tests.support.service import wait_until

IMAGES = numbered(40)


def send(service: TwoModels, image: int, model: str | None = None) -> dict[str, Any]:
    query = urlencode({"options": json.dumps({"model": model})})
    return service.post_image(IMAGES[image], query)[1]


def settled(service: TwoModels, job: dict[str, Any]) -> dict[str, Any]:
    wait_until(lambda: service.get(job["urls"]["self"])[1]["status"] == "succeeded", service.log)
    return service.get(job["urls"]["self"])[1]


def test_each_job_is_captioned_by_the_model_that_it_asks_for(two_models: TwoModels) -> None:
    jobs = [send(two_models, number, model) for number in range(3) for model in TwoModels.MODELS]
    anyones = [send(two_models, number) for number in (3, 4)]

    captioned = [settled(two_models, job)["model"]["name"] for job in jobs]

    assert captioned == [*TwoModels.MODELS] * 3
    assert {settled(two_models, job)["model"]["name"] for job in anyones} <= {*TwoModels.MODELS}
    models = two_models.get("/v1/models")[1]["models"]
    assert [(model["name"], model["workers"]) for model in models] == [("demo", 1), ("second", 1)]


def test_jobs_wait_for_a_worker_with_their_model_while_others_are_captioned(two_models: TwoModels) -> None:
    two_models.second.terminate()
    two_models.second.wait()
    waiting = [send(two_models, number, "second") for number in (10, 11)]
    other = settled(two_models, send(two_models, 12, "demo"))

    shown = two_models.get(waiting[0]["urls"]["self"])[1]
    assert (other["model"]["name"], shown["status"]) == ("demo", "queued")
    assert "No worker with the model second is running." in shown["progress"]["reason"]
    two_models.start_second()
    assert [settled(two_models, job)["model"]["name"] for job in waiting] == ["second", "second"]
