"""`Webhook-URL`: whoever sends may be told, and nobody inside the server's own network is."""

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
    """Event, id and URL of what is due, which is claimed."""

    def claim() -> list[tuple[str, str, str]]:
        outbox = components.outbox
        return [(sent.type, sent.id, sent.url) for sent in iter(outbox.claim, None) if sent]

    return claim


Due = Callable[[], list[tuple[str, str, str]]]


def as_form(client: Client, url: str) -> Any:
    data = {"image": (io.BytesIO(encoded()), "ball.jpg")}
    return client.post("/v1/jobs", data=data, headers={"Webhook-URL": url})


def as_body(client: Client, url: str) -> Any:
    return client.post("/v1/jobs", data=encoded(), content_type="image/jpeg", headers={"Webhook-URL": url})


def as_batch(client: Client, url: str) -> Any:
    data = {"images": [(io.BytesIO(picture), "ball.jpg") for picture in [*numbered(2), b"text"]]}
    return client.post("/v1/batches", data=data, headers={"Webhook-URL": url})


@pytest.mark.parametrize("send", [as_form, as_body])
def test_the_end_of_a_job_will_be_told(
    client: Client, caption: Callable[[str, str], None], due: Due, send: Callable[[Client, str], Any]
) -> None:
    answer = send(client, URL)
    before = due()
    caption(answer.json["id"], "a red ball")

    assert (answer.status_code, before) == (202, [])
    assert due() == [("job.succeeded", answer.json["id"], URL)]


def test_a_caption_that_is_there_already_is_told_as_well(
    client: Client, caption: Callable[[str, str], None], announce: Callable[[ModelInfo], None], due: Due
) -> None:
    announce(MODEL)
    caption(as_form(client, URL).json["id"], "a red ball")
    due()
    again = as_form(client, URL)

    assert again.status_code == 201
    assert due() == [("job.succeeded", again.json["id"], URL)]


def test_the_end_of_a_batch_will_be_told_once(client: Client, ledger: Ledger, due: Due) -> None:
    batch = as_batch(client, URL).json
    before = due()
    client.post(batch["urls"]["cancel"])

    assert before == []
    assert due() == [("batch.completed", batch["id"], URL)]


def test_a_batch_of_which_nothing_can_be_captioned_is_told(client: Client, due: Due) -> None:
    data = {"images": [(io.BytesIO(b"text"), "a.txt"), (io.BytesIO(b""), "b.jpg")]}
    batch = client.post("/v1/batches", data=data, headers={"Webhook-URL": URL}).json

    assert due() == [("batch.completed", batch["id"], URL)]


@pytest.mark.parametrize("send", [as_form, as_body, as_batch])
@pytest.mark.parametrize(
    "url", ["", "http://receiver.example/", "https://user:password@receiver.example/", "https://169.254.169.254/"]
)
def test_a_url_that_is_not_allowed_is_refused_and_nothing_is_kept(
    client: Client, send: Callable[[Client, str], Any], url: str
) -> None:
    answer = send(client, url)

    assert (answer.status_code, answer.json["type"]) == (422, "/problems/url-not-allowed")
    assert answer.json["detail"].startswith("Webhook-URL: ")
    assert client.get("/v1/jobs").json["jobs"] == []
