"""Jobs with an image URL: off by default, restricted to public addresses, otherwise like an upload."""

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


def app_that_fetches(settings: Settings, redis: Redis, **changes: Any) -> Flask:
    return create_app(settings.model_copy(update={"fetch_urls": True, **changes}), redis=redis)


@pytest.fixture
def app(settings: Settings, redis: Redis) -> Flask:
    """An application that fetches URLs of any address."""
    return app_that_fetches(settings, redis, allow_local_urls=True)


@pytest.fixture
def public_only(settings: Settings, redis: Redis) -> Client:
    """A client of an application that fetches URLs of public addresses only."""
    return app_that_fetches(settings, redis).test_client()


@pytest.fixture
def image_server() -> Iterator[Receiver]:
    with running_receiver(with_status(200, encoded())) as running:
        yield running


def submit_url(client: Client, url: str, **headers: str) -> Any:
    return client.post("/v1/jobs", json={"url": url}, headers=headers)


def slug(answer: Any) -> str:
    return str(answer.json["type"]).removeprefix("/problems/")


def test_an_image_url_creates_a_job_like_an_upload(
    client: Client, image_server: Receiver, stored: Callable[[], list[Path]]
) -> None:
    answer = submit_url(client, image_server.url("/photos/my%20dog.jpg?size=large"))

    assert answer.status_code == 202
    assert answer.json["input"].items() >= {"filename": "my dog.jpg", "format": "JPEG", "width": 320}.items()
    assert [file.read_bytes() for file in stored()] == [encoded()]
    (fetched,) = image_server.requests
    assert (fetched.method, fetched.target) == ("GET", "/photos/my%20dog.jpg?size=large")


def test_at_most_three_redirects_are_followed(client: Client) -> None:
    def redirects(count: int) -> list[Any]:
        return [with_status(302, Location=f"/{number}.jpg") for number in range(count)]

    with running_receiver(*redirects(3), with_status(200, encoded())) as three, running_receiver(*redirects(4)) as four:
        assert submit_url(client, three.url()).status_code == 202
        assert slug(submit_url(client, four.url())) == "fetch-failed"
        assert len(four.requests) == 4


def test_fetching_is_off_by_default(settings: Settings, redis: Redis, image_server: Receiver) -> None:
    client = create_app(settings, redis=redis).test_client()

    answer = submit_url(client, image_server.url())

    assert (answer.status_code, slug(answer)) == (403, "fetching-off")
    assert image_server.requests == []


@pytest.mark.parametrize(
    "body", ["", "[]", "{}", '{"url": 5}', '{"url": "https://a.example/", "more": 1}', '"https://a.example/"', "{"]
)
def test_json_with_anything_but_a_url_is_refused(client: Client, body: str) -> None:
    answer = client.post("/v1/jobs", data=body, content_type="application/json")

    assert (answer.status_code, slug(answer)) == (400, "bad-request")
    assert '{"url": "https://..."}' in answer.json["detail"]


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1/", "https://169.254.169.254/latest/meta-data/", "file:///etc/passwd", "https://a@b.com/"]
)
def test_a_url_that_is_not_allowed_is_refused(public_only: Client, url: str) -> None:
    answer = submit_url(public_only, url)

    assert (answer.status_code, slug(answer)) == (422, "url-not-allowed")


def test_an_internal_host_gets_the_same_response_as_an_unknown_one(
    public_only: Client, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Only the log distinguishes them."""
    caplog.set_level(logging.INFO, "web.api.fetching")
    internal = submit_url(public_only, "https://localhost/")  # resolves, to this machine
    unknown = submit_url(public_only, "https://nothing.invalid/")  # does not resolve

    assert internal.json == unknown.json
    assert (internal.status_code, slug(internal)) == (422, "fetch-failed")
    assert "not public" in caplog.messages[0] and "not public" not in caplog.messages[1]


@pytest.mark.parametrize("status", [204, 206, 304, 404, 500])
def test_the_error_names_the_server_s_status(client: Client, status: int) -> None:
    with running_receiver(with_status(status)) as server:
        answer = submit_url(client, server.url())

    assert (answer.status_code, slug(answer)) == (422, "fetch-failed")
    assert f"status {status}" in answer.json["detail"]


def test_a_fetched_file_that_is_too_large_is_refused(client: Client, settings: Settings) -> None:
    with running_receiver(with_status(200, bytes(settings.max_upload_bytes + 1))) as server:
        answer = submit_url(client, server.url())

    assert (answer.status_code, slug(answer)) == (413, "upload-too-large")


def test_a_fetched_file_that_is_no_image_is_refused(client: Client, stored: Callable[[], list[Path]]) -> None:
    with running_receiver(with_status(200, b"<html>", Content_Type="image/jpeg")) as server:
        answer = submit_url(client, server.url())

    assert (answer.status_code, slug(answer)) == (415, "unsupported-image")
    assert stored() == []


def test_concurrent_fetches_are_limited(app: Flask, client: Client, image_server: Receiver) -> None:
    services: Services = app.extensions["captiond"]
    while services.fetch_slots.acquire(blocking=False):
        pass
    refused = submit_url(client, image_server.url())
    services.fetch_slots.release()
    accepted = [submit_url(client, image_server.url()).status_code for _ in range(2)]

    assert (refused.status_code, slug(refused), refused.headers["Retry-After"]) == (503, "fetching-busy", "5")
    assert accepted == [202, 202]
    assert len(image_server.requests) == 2


def test_a_failed_fetch_releases_its_slot(app: Flask, client: Client) -> None:
    with running_receiver(with_status(404)) as server:
        for _ in range(10):
            assert slug(submit_url(client, server.url())) == "fetch-failed"


def test_an_idempotency_key_returns_the_earlier_job(client: Client, image_server: Receiver) -> None:
    first, second = (submit_url(client, image_server.url(), **{"Idempotency-Key": "k"}).json["id"] for _ in range(2))

    assert first == second


def test_the_url_is_not_stored_because_it_may_contain_secrets(
    client: Client, image_server: Receiver, redis: Redis
) -> None:
    job = submit_url(client, image_server.url("/dog.jpg?token=1")).json["id"]

    record = redis.hgetall(f"job:{job}")
    assert "dog.jpg" in str(record) and "token" not in str(record)
