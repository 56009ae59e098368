"""A picture by its URL: fetched like an upload, from the Internet only, and not by default."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from redis import Redis

from common.settings import Settings
from tests.support.images import encoded
from tests.support.receiver import Receiver, running_receiver, with_status
from tests.unit.web.client import Client
from web import create_app
from web.services import Services


def fetching(settings: Settings, redis: Redis, **more: Any) -> Flask:
    return create_app(settings.model_copy(update={"fetch_urls": True, **more}), redis=redis)


@pytest.fixture
def app(settings: Settings, redis: Redis) -> Flask:
    """It fetches, from this machine, too."""
    return fetching(settings, redis, allow_local_urls=True)


@pytest.fixture
def strict(settings: Settings, redis: Redis) -> Client:
    """It fetches, from the Internet only."""
    return fetching(settings, redis).test_client()


@pytest.fixture
def place() -> Iterator[Receiver]:
    with running_receiver(with_status(200, encoded())) as running:
        yield running


def ask(client: Client, url: str, **headers: str) -> Any:
    return client.post("/v1/jobs", json={"url": url}, headers=headers)


def slug(answer: Any) -> str:
    return str(answer.json["type"]).removeprefix("/problems/")


def test_the_picture_becomes_a_job_like_an_upload(
    client: Client, place: Receiver, stored: Callable[[], list[Path]]
) -> None:
    answer = ask(client, place.url("/photos/my%20dog.jpg?size=large"))

    assert answer.status_code == 202
    assert answer.json["input"].items() >= {"filename": "my dog.jpg", "format": "JPEG", "width": 320}.items()
    assert [file.read_bytes() for file in stored()] == [encoded()]
    (asked,) = place.requests
    assert (asked.method, asked.target) == ("GET", "/photos/my%20dog.jpg?size=large")


def test_redirects_are_followed_three_times(client: Client) -> None:
    def hops(count: int) -> list[Any]:
        return [with_status(302, Location=f"/{number}.jpg") for number in range(count)]

    with running_receiver(*hops(3), with_status(200, encoded())) as near, running_receiver(*hops(4)) as far:
        assert ask(client, near.url()).status_code == 202
        assert slug(ask(client, far.url())) == "fetch-failed"
        assert len(far.requests) == 4


def test_it_is_off_unless_set(settings: Settings, redis: Redis, place: Receiver) -> None:
    client = create_app(settings, redis=redis).test_client()

    answer = ask(client, place.url())

    assert (answer.status_code, slug(answer)) == (403, "fetching-off")
    assert place.requests == []


@pytest.mark.parametrize(
    "body", ["", "[]", "{}", '{"url": 5}', '{"url": "https://a.example/", "more": 1}', '"https://a.example/"', "{"]
)
def test_json_without_just_a_url_is_not_understood(client: Client, body: str) -> None:
    answer = client.post("/v1/jobs", data=body, content_type="application/json")

    assert (answer.status_code, slug(answer)) == (400, "bad-request")
    assert '{"url": "https://..."}' in answer.json["detail"]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/", "https://169.254.169.254/latest/meta-data/", "file:///etc/passwd", "https://a@b.com/"]
)
def test_a_url_that_is_not_allowed_is_refused(strict: Client, url: str) -> None:
    answer = ask(strict, url)

    assert (answer.status_code, slug(answer)) == (422, "url-not-allowed")


def test_a_place_inside_is_answered_as_one_that_is_nowhere(
    strict: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """The log says which it was, the answer does not."""
    caplog.set_level(logging.INFO, "web.api.fetching")
    inside = ask(strict, "https://localhost/")  # resolves, to this machine
    nowhere = ask(strict, "https://nothing.invalid/")  # does not resolve

    assert inside.json == nowhere.json
    assert (inside.status_code, slug(inside)) == (422, "fetch-failed")
    assert "not public" in caplog.messages[0] and "not public" not in caplog.messages[1]


@pytest.mark.parametrize("status", [204, 206, 304, 404, 500])
def test_what_the_server_answers_instead_is_said(client: Client, status: int) -> None:
    with running_receiver(with_status(status)) as server:
        answer = ask(client, server.url())

    assert (answer.status_code, slug(answer)) == (422, "fetch-failed")
    assert f"answered {status}" in answer.json["detail"]


def test_a_file_that_is_too_large_is_refused_as_an_upload_is(client: Client, settings: Settings) -> None:
    with running_receiver(with_status(200, bytes(settings.max_upload_bytes + 1))) as server:
        answer = ask(client, server.url())

    assert (answer.status_code, slug(answer)) == (413, "upload-too-large")


def test_what_is_no_picture_is_refused_as_an_upload_is(client: Client, stored: Callable[[], list[Path]]) -> None:
    with running_receiver(with_status(200, b"<html>", Content_Type="image/jpeg")) as server:
        answer = ask(client, server.url())

    assert (answer.status_code, slug(answer)) == (415, "unsupported-image")
    assert stored() == []


def test_only_a_few_are_fetched_at_once(app: Flask, client: Client, place: Receiver) -> None:
    services: Services = app.extensions["captiond"]
    while services.may_fetch.acquire(blocking=False):
        pass
    refused = ask(client, place.url())
    services.may_fetch.release()
    taken = [ask(client, place.url()).status_code for _ in range(2)]

    assert (refused.status_code, slug(refused), refused.headers["Retry-After"]) == (503, "fetching-busy", "5")
    assert taken == [202, 202]
    assert len(place.requests) == 2


def test_a_fetch_that_fails_frees_its_place(app: Flask, client: Client) -> None:
    with running_receiver(with_status(404)) as server:
        for _ in range(10):
            assert slug(ask(client, server.url())) == "fetch-failed"


def test_the_same_key_gives_the_same_job(client: Client, place: Receiver) -> None:
    first, second = (ask(client, place.url(), **{"Idempotency-Key": "k"}).json["id"] for _ in range(2))

    assert first == second


def test_the_url_is_kept_nowhere_as_it_may_be_secret(client: Client, place: Receiver, redis: Redis) -> None:
    job = ask(client, place.url("/dog.jpg?token=1")).json["id"]

    kept = redis.hgetall(f"job:{job}")
    assert "dog.jpg" in str(kept) and "token" not in str(kept)
