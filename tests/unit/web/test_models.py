"""A choice of model: which are known, which captions are cached, who is notified, and what a waiting job says."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from typing import Any

import pytest
from celery import Celery
from flask import Flask
from redis import Redis

from common.jobs import ModelInfo, Output, Timings
from common.ledger import Components, Ledger, Worker
from common.queue import pending_notifications
from common.settings import Settings
from tests.support.claims import claim_job, commit
from tests.support.contract import assert_valid_response
from tests.support.images import encoded, numbered
from tests.unit.web.client import MODEL, Client
from web import create_app

BLIP, LLAVA = ModelInfo(name="blip", version="sha256:b"), ModelInfo(name="llava:7b", version="sha256:c")
Announce = Callable[[ModelInfo], object]


@pytest.fixture
def announce(components: Components) -> Announce:
    """Announces a live worker of each model."""
    return lambda model: components.workers.announce(Worker(name=f"host-{model.name}", model=model))


def send(client: Client, model: str | None = None, data: bytes = encoded()) -> Any:
    options = {"options": json.dumps({"model": model})} if model else {}
    return client.post("/v1/jobs", data={"image": (io.BytesIO(data), "ball.jpg"), **options})


class TestChoice:
    def test_an_unknown_model_is_refused_with_those_that_exist(self, client: Client, announce: Announce) -> None:
        announce(BLIP)
        announce(LLAVA)

        answer = send(client, "gpt")

        assert (answer.status_code, answer.json["type"]) == (400, "/problems/bad-request")
        assert answer.json["detail"] == "There is no model 'gpt'. `options.model` must be one of blip, llava:7b."
        assert_valid_response(answer)

    def test_without_any_worker_yet_none_can_be_chosen(self, client: Client) -> None:
        answer = send(client, "blip")

        assert answer.status_code == 400 and "no worker has started" in answer.json["detail"]

    def test_a_job_shows_the_model_that_it_asks_for(self, client: Client, announce: Announce) -> None:
        announce(BLIP)
        announce(LLAVA)

        answer = send(client, LLAVA.name)

        assert (answer.status_code, answer.json["options"]) == (202, {"model": LLAVA.name})
        assert_valid_response(answer)

    def test_the_default_model_is_that_of_jobs_that_ask_for_none(
        self, settings: Settings, redis: Redis, announce: Announce
    ) -> None:
        announce(LLAVA)
        app = create_app(settings.model_copy(update={"default_model": "blip"}), redis=redis)
        client: Client = app.test_client()

        single, chosen = send(client).json, send(client, LLAVA.name).json
        batch = client.post("/v1/batches", json={"name": "Holidays", "options": {"beams": 3}}).json
        item = client.post(batch["urls"]["items"], data={"image": (io.BytesIO(encoded()), "a.jpg")}).json

        assert (single["options"], chosen["options"]) == ({"model": "blip"}, {"model": LLAVA.name})
        assert batch["options"] == item["options"] == {"beams": 3, "model": "blip"}
        assert send(client, "blip").status_code == 202  # also before a worker has announced it

    def test_a_job_for_a_model_whose_workers_are_gone_waits_and_says_so(
        self, client: Client, announce: Announce, components: Components
    ) -> None:
        announce(BLIP)
        announce(LLAVA)
        components.workers.leave("host-blip")

        job = send(client, "blip").json
        russian = client.get(job["urls"]["self"], headers={"Accept-Language": "ru"}).json

        sentence = "No worker with the model blip is running. Pictures wait for one, and none is lost."
        assert (job["status"], job["progress"]["reason"]) == ("queued", sentence)
        assert russian["progress"]["reason"] not in (None, sentence) and "blip" in russian["progress"]["reason"]
        assert send(client, LLAVA.name).json["progress"]["reason"] is None


class TestPages:
    @pytest.fixture
    def waiting(self, client: Client, announce: Announce, components: Components) -> dict[str, Any]:
        """An open batch that asks for `blip`, whose workers are gone."""
        announce(BLIP)
        announce(LLAVA)
        components.workers.leave("host-blip")
        batch: dict[str, Any] = client.post("/v1/batches", json={"options": {"model": "blip"}}).json
        return batch

    def test_the_form_has_a_choice_only_among_several(self, client: Client, announce: Announce) -> None:
        announce(BLIP)
        without = client.get("/").text
        announce(LLAVA)
        page = client.get("/").text

        assert "<select" not in without
        assert re.findall(r"<option value=('[^']*'|\S+?) ?>([^<]*)<", page) == [
            ('"{}"', "Any"),
            ('\'{"model": "blip"}\'', "blip"),
            ('\'{"model": "llava:7b"}\'', "llava:7b"),
        ]
        assert "blip · llava:7b" in page

    def test_the_default_model_is_chosen_at_first(self, settings: Settings, redis: Redis, announce: Announce) -> None:
        announce(BLIP)
        announce(LLAVA)
        app = create_app(settings.model_copy(update={"default_model": LLAVA.name}), redis=redis)

        page = app.test_client().get("/").text

        assert ">Any<" not in page and "selected>llava:7b<" in page

    def test_the_default_model_is_offered_before_a_worker_has_announced_it(
        self, settings: Settings, redis: Redis, announce: Announce
    ) -> None:
        announce(BLIP)
        announce(LLAVA)
        app = create_app(settings.model_copy(update={"default_model": "later"}), redis=redis)

        assert '<option value="{}">later</option>' in app.test_client().get("/").text

    def test_the_form_sends_the_choice(self, client: Client, announce: Announce) -> None:
        announce(BLIP)
        options = {"options": '{"model": "blip"}'}
        sent = client.post("/", data={"images": (io.BytesIO(encoded()), "a.jpg"), **options})
        images = [(io.BytesIO(data), f"{number}.jpg") for number, data in enumerate(numbered(2))]
        batch = client.post("/", data={"images": images, **options})

        assert client.get(f"/v1{sent.location}").json["options"] == {"model": "blip"}
        assert client.get(f"/v1{batch.location}").json["options"] == {"model": "blip"}

    def test_pages_say_that_pictures_wait_for_a_worker_with_the_model(
        self, client: Client, waiting: dict[str, Any]
    ) -> None:
        job = client.post(waiting["urls"]["items"], data={"image": (io.BytesIO(encoded()), "a.jpg")}).json

        for path in (f"/batches/{waiting['id']}", f"/jobs/{job['id']}"):
            assert "No worker with the model blip is running." in client.get(path).text
        assert "<dt>Model</dt><dd>blip</dd>" in client.get(f"/jobs/{job['id']}").text
        assert "<dt>Of all these, for the model blip</dt><dd>1</dd>" in client.get("/workers").text
        assert "blip (not running)" in client.get("/").text

    def test_a_batch_has_the_reason_while_its_pictures_wait(
        self, client: Client, waiting: dict[str, Any], announce: Announce
    ) -> None:
        client.post(waiting["urls"]["items"], data={"image": (io.BytesIO(encoded()), "a.jpg")})
        answer = client.get(waiting["urls"]["self"])
        announce(BLIP)
        running = client.get(waiting["urls"]["self"]).json

        assert answer.json["reason"].startswith("No worker with the model blip is running.")
        assert (waiting["reason"], running["reason"]) == (None, None)  # without pictures, and with a worker
        assert_valid_response(answer)


class TestCache:
    @pytest.fixture
    def caption(self, client: Client, ledger: Ledger) -> Callable[[ModelInfo, str], None]:
        """Lets a model caption the picture."""

        def write(model: ModelInfo, text: str) -> None:
            claim = claim_job(ledger, send(client, model.name).json["id"], model=model.name)
            assert claim is not None
            timings = Timings(queue_seconds=0.1, model_seconds=0.2, batch_size=1)
            commit(ledger, claim, Output(caption=text), model=model, timings=timings)

        return write

    def test_a_caption_of_one_model_is_none_of_another(
        self, client: Client, announce: Announce, caption: Callable[[ModelInfo, str], None]
    ) -> None:
        announce(BLIP)
        announce(LLAVA)
        caption(BLIP, "a ball")

        again, other = send(client, "blip").json, send(client, LLAVA.name).json

        assert (again["status"], again["output"]["caption"], again["cached"]) == ("succeeded", "a ball", True)
        assert (again["model"], other["status"]) == (BLIP.model_dump(), "queued")

    def test_a_job_that_asks_for_no_model_may_have_the_caption_of_any_live_one(
        self, client: Client, announce: Announce, caption: Callable[[ModelInfo, str], None], components: Components
    ) -> None:
        for model in (BLIP, LLAVA, MODEL):
            announce(model)
        caption(LLAVA, "a red ball")
        cached = send(client).json
        components.workers.leave("host-llava:7b")

        assert (cached["model"]["name"], cached["output"]["caption"]) == (LLAVA.name, "a red ball")
        assert send(client).json["status"] == "queued"


class TestNotifications:
    @pytest.fixture
    def celery(self, app: Flask) -> Celery:
        """The broker in memory, without notifications of other tests."""
        celery: Celery = app.extensions["captiond"].celery
        with celery.connection_for_write() as connection:
            for model in ("", ":blip"):
                connection.SimpleQueue(f"captiond{model}").clear()
        return celery

    def test_workers_are_notified_that_may_claim_the_job(
        self, client: Client, announce: Announce, celery: Celery
    ) -> None:
        announce(BLIP)
        job = send(client, "blip").json
        batch = client.post("/v1/batches", json={"options": {"model": "blip"}}).json
        client.post(batch["urls"]["items"], data={"image": (io.BytesIO(encoded()), "a.jpg")})
        images = [(io.BytesIO(data), f"{number}.jpg") for number, data in enumerate(numbered(2))]
        client.post("/v1/batches", data={"images": images, "options": json.dumps({"model": "blip"})})
        client.post(job["urls"]["cancel"])
        client.post(job["urls"]["retry"])
        client.post(batch["urls"]["cancel"])
        client.post(batch["urls"]["retry"])
        own = pending_notifications(celery, "blip"), pending_notifications(celery)
        send(client)

        assert own == (5, 0)
        assert pending_notifications(celery) == 1

    def test_a_model_without_workers_gets_no_notifications_that_nobody_would_receive(
        self, client: Client, announce: Announce, celery: Celery, components: Components
    ) -> None:
        announce(BLIP)
        components.workers.leave("host-blip")

        assert send(client, "blip").status_code == 202
        assert pending_notifications(celery, "blip") == 0


class TestLists:
    def test_models_are_listed_with_their_live_workers(
        self, client: Client, announce: Announce, components: Components
    ) -> None:
        announce(LLAVA)
        announce(BLIP)
        components.workers.leave("host-llava:7b")

        answer = client.get("/v1/models")

        assert answer.json["models"] == [{**BLIP.model_dump(), "workers": 1}, {**LLAVA.model_dump(), "workers": 0}]
        assert answer.json["captioning"] == BLIP.model_dump()
        assert_valid_response(answer)

    def test_the_queue_of_a_model_is_what_its_workers_may_claim(self, client: Client, announce: Announce) -> None:
        announce(BLIP)
        announce(LLAVA)
        for model in (None, "blip", "blip", LLAVA.name):
            send(client, model)

        waiting = {
            query: client.get(f"/v1/queue{query}").json["lanes"]["interactive"]["waiting"]
            for query in ("", "?model=blip", "?model=llava:7b", "?model=none")
        }

        assert waiting == {"": 4, "?model=blip": 3, "?model=llava:7b": 2, "?model=none": 1}
        assert_valid_response(client.get("/v1/queue?model=blip"))
