"""The `Webhook-URL` header: events of jobs and batches, and refused URLs."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import pytest

from common.jobs import ModelInfo
from common.ledger import Components, Ledger
from tests.support.images import encoded, numbered
from tests.unit.web.client import MODEL, Client

URL = "https://receiver.example/hook?token=1"


@pytest.fixture
def due(components: Components) -> Callable[[], list[tuple[str, str, str]]]:
    """Claims all due webhooks: event, id and URL of each."""

    def claim() -> list[tuple[str, str, str]]:
        outbox = components.outbox
        return [(delivery.type, delivery.id, delivery.url) for delivery in iter(outbox.claim, None) if delivery]

    return claim


Due = Callable[[], list[tuple[str, str, str]]]


def as_form(client: Client, url: str) -> Any:
    data = {"image": (io.BytesIO(encoded()), "ball.jpg")}
    return client.post("/v1/jobs", data=data, headers={"Webhook-URL": url})


def as_body(client: Client, url: str) -> Any:
    return client.post("/v1/jobs", data=encoded(), content_type="image/jpeg", headers={"Webhook-URL": url})


def as_batch(client: Client, url: str) -> Any:
    data = {"images": [(io.BytesIO(image), "ball.jpg") for image in [*numbered(2), b"text"]]}
    return client.post("/v1/batches", data=data, headers={"Webhook-URL": url})


@pytest.mark.parametrize("send", [as_form, as_body])
def test_a_finished_job_has_a_webhook_event(
    client: Client, caption: Callable[[str, str], None], due: Due, send: Callable[[Client, str], Any]
) -> None:
    answer = send(client, URL)
    before = due()
    caption(answer.json["id"], "a red ball")

    assert (answer.status_code, before) == (202, [])
    assert due() == [("job.succeeded", answer.json["id"], URL)]


def test_a_cached_caption_has_a_webhook_event(
    client: Client, caption: Callable[[str, str], None], announce: Callable[[ModelInfo], None], due: Due
) -> None:
    announce(MODEL)
    caption(as_form(client, URL).json["id"], "a red ball")
    due()
    again = as_form(client, URL)

    assert again.status_code == 201
    assert due() == [("job.succeeded", again.json["id"], URL)]


def test_a_finished_batch_has_one_webhook_event(client: Client, ledger: Ledger, due: Due) -> None:
    batch = as_batch(client, URL).json
    before = due()
    client.post(batch["urls"]["cancel"])

    assert before == []
    assert due() == [("batch.completed", batch["id"], URL)]


def test_a_batch_of_invalid_images_has_a_webhook_event(client: Client, due: Due) -> None:
    data = {"images": [(io.BytesIO(b"text"), "a.txt"), (io.BytesIO(b""), "b.jpg")]}
    batch = client.post("/v1/batches", data=data, headers={"Webhook-URL": URL}).json

    assert due() == [("batch.completed", batch["id"], URL)]


@pytest.mark.parametrize("send", [as_form, as_body, as_batch])
@pytest.mark.parametrize(
    "url", ["", "http://receiver.example/", "https://user:password@receiver.example/", "https://169.254.169.254/"]
)
def test_a_webhook_url_that_is_not_allowed_creates_no_job(
    client: Client, send: Callable[[Client, str], Any], url: str
) -> None:
    answer = send(client, url)

    assert (answer.status_code, answer.json["type"]) == (422, "/problems/url-not-allowed")
    assert answer.json["detail"].startswith("Webhook-URL: ")
    assert client.get("/v1/jobs").json["jobs"] == []
