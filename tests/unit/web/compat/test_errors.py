"""Errors in the shape of each protocol, also those of keys, rates and limits, which no view raises."""

from __future__ import annotations

import io
from collections.abc import Callable
from typing import Any

import fakeredis
import pytest
from redis import Redis

from common.keyring import Scope
from common.settings import Settings
from tests.support.contract import assert_valid_response
from tests.support.keys import add_key
from tests.unit.web.client import Client
from tests.unit.web.compat.requests import in_base64
from web import create_app

REMOTE = {"REMOTE_ADDR": "192.0.2.7"}
Send = Callable[..., Any]


def openai_body(picture: str) -> dict[str, Any]:
    part = {"type": "image_url", "image_url": {"url": f"data:image/jpeg;base64,{picture}"}}
    return {"messages": [{"role": "user", "content": [part]}]}


#: The path of each protocol, its request for a caption of a picture in base64, and the members of its error.
PROTOCOLS: dict[str, tuple[str, Callable[[str], dict[str, Any]], Callable[[Any], str]]] = {
    "openai": ("/openai/v1/chat/completions", openai_body, lambda answer: str(answer["error"]["message"])),
    "ollama": ("/api/generate", lambda picture: {"images": [picture]}, lambda answer: str(answer["error"])),
    "huggingface": (
        "/huggingface/image-to-text",
        lambda picture: {"inputs": picture},
        lambda answer: str(answer["error"]),
    ),
    "photoprism": (
        "/api/v1/vision/caption",
        lambda picture: {"images": [f"data:image/jpeg;base64,{picture}"]},
        lambda answer: str(answer["error"]),
    ),
}


@pytest.fixture(params=PROTOCOLS)
def protocol(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def send(protocol: str) -> Send:
    """Asks for a caption in the protocol; checks the answer against its description and returns it."""
    path, body, _ = PROTOCOLS[protocol]

    def ask(client: Client, picture: str | None = None, **arguments: Any) -> Any:
        answer = client.post(path, json=body(in_base64() if picture is None else picture), **arguments)
        assert_valid_response(answer)
        return answer

    return ask


@pytest.fixture
def sentence(protocol: str) -> Callable[[Any], str]:
    """The sentence of an error response, which is in the protocol's shape."""
    return lambda answer: PROTOCOLS[protocol][2](answer.json)


def with_settings(settings: Settings, redis: Redis, **changes: Any) -> Client:
    return create_app(settings.model_copy(update=changes), redis=redis).test_client()


class TestKeys:
    @pytest.fixture
    def client(self, settings: Settings, redis: Redis) -> Client:
        settings.keys_file.touch()
        return create_app(settings, redis=redis).test_client()

    def test_a_request_without_a_key_is_refused(
        self, client: Client, send: Send, sentence: Callable[[Any], str]
    ) -> None:
        answer = send(client)

        assert answer.status_code == 401
        assert "Send an API key" in sentence(answer)
        assert answer.headers["WWW-Authenticate"].startswith("Bearer")

    def test_a_key_that_may_only_read_is_refused(
        self, client: Client, settings: Settings, send: Send, sentence: Callable[[Any], str]
    ) -> None:
        secret = add_key(settings, "alice", Scope.READ)
        client.application.extensions["captiond"].keyring.reload()

        answer = send(client, headers={"Authorization": f"Bearer {secret}"})

        assert answer.status_code == 403
        assert "scope `submit`" in sentence(answer)

    def test_a_job_belongs_to_the_key_s_owner(
        self, client: Client, settings: Settings, send: Send, no_wait: None
    ) -> None:
        alice, bob = ({"Authorization": f"Bearer {add_key(settings, name)}"} for name in ("alice", "bob"))
        client.application.extensions["captiond"].keyring.reload()

        send(client, headers=alice)
        send(client, headers=bob)  # does not join alice's job

        counts = [len(client.get("/v1/jobs", headers=headers).json["jobs"]) for headers in (alice, bob)]
        assert counts == [1, 1]


@pytest.mark.usefixtures("no_wait")
def test_too_many_requests_are_refused_with_the_seconds_to_wait(
    settings: Settings, redis: Redis, send: Send, sentence: Callable[[Any], str]
) -> None:
    client = with_settings(settings, redis, submits_per_minute=1)

    answers = [send(client, environ_base=REMOTE) for _ in range(2)]

    assert [answer.status_code for answer in answers] == [503, 429]
    assert 1 <= int(answers[1].headers["Retry-After"]) <= 60
    assert "Too many requests" in sentence(answers[1])


@pytest.mark.usefixtures("no_wait")
def test_a_full_queue_refuses_new_pictures_but_not_a_repeated_request(
    settings: Settings, redis: Redis, send: Send, sentence: Callable[[Any], str]
) -> None:
    client = with_settings(settings, redis, max_open_jobs=1)
    send(client)

    repeated, other = send(client), send(client, in_base64(b"other"))

    assert "waits for the same job" in sentence(repeated)
    assert (other.status_code, other.headers["Retry-After"]) == (503, "30")


def test_a_bad_picture_is_refused(client: Client, send: Send, sentence: Callable[[Any], str]) -> None:
    answer = send(client, in_base64(b"<h1>Hello</h1>"))

    assert answer.status_code == 415
    assert "not a picture" in sentence(answer)


@pytest.mark.parametrize("size", [100_001, 300_000], ids=["decoded picture", "body"])
def test_too_much_is_refused(client: Client, send: Send, sentence: Callable[[Any], str], size: int) -> None:
    answer = send(client, in_base64(b"x" * size))

    assert answer.status_code == 413
    assert "too large" in sentence(answer) or "larger than the limit" in sentence(answer)


def test_an_error_is_in_the_language_of_the_request(client: Client, send: Send, sentence: Callable[[Any], str]) -> None:
    answer = send(client, "%", headers={"Accept-Language": "ru"})

    assert sentence(answer) == "Изображение записано не в base64."
    assert answer.headers["Content-Language"] == "ru"


def test_a_page_of_another_site_is_refused(client: Client, send: Send, sentence: Callable[[Any], str]) -> None:
    answer = send(client, headers={"Origin": "https://evil.example"})

    assert answer.status_code == 403
    assert "another site" in sentence(answer)


def test_redis_away_is_an_error_of_the_protocol(
    client: Client, server: fakeredis.FakeServer, send: Send, sentence: Callable[[Any], str]
) -> None:
    server.connected = False

    answer = send(client)

    assert answer.status_code == 503
    assert "job store is unavailable" in sentence(answer)


def test_a_bug_is_an_error_of_the_protocol_without_its_text(
    client: Client, monkeypatch: pytest.MonkeyPatch, protocol: str, sentence: Callable[[Any], str]
) -> None:
    def fail(*arguments: object) -> None:
        raise KeyError("secret")

    monkeypatch.setattr("web.compat.captioning.submit_picture", fail)
    path, body, _ = PROTOCOLS[protocol]

    answer = client.post(path, json=body(in_base64()))

    assert answer.status_code == 500
    assert "unexpected error" in sentence(answer)
    assert "secret" not in answer.text


def test_protocols_that_are_not_named_are_not_served(settings: Settings, redis: Redis, protocol: str) -> None:
    path, body, _ = PROTOCOLS[protocol]
    others = ",".join(name for name in PROTOCOLS if name != protocol)

    off, on = (with_settings(settings, redis, compat=names) for names in (others, f" {protocol} ,"))

    assert off.post(path, json=body("%")).status_code == 404
    assert on.post(path, json=body("%")).status_code == 400


def test_the_api_s_own_errors_stay_problems(client: Client) -> None:
    answer = client.post("/v1/jobs", data={"image": (io.BytesIO(b"text"), "a.jpg")})

    assert answer.json["type"] == "/problems/unsupported-image"
