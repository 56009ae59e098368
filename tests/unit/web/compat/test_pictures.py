"""Pictures in JSON: what is accepted, and what an attacker may send."""

from __future__ import annotations

import base64

import pytest
from flask import Flask
from redis import Redis

from common.settings import Settings
from tests.support.images import encoded
from tests.support.receiver import running_receiver, with_status
from tests.unit.web.client import Client
from tests.unit.web.compat.requests import PATH, ask, in_base64
from web import create_app
from web.body_limits import BASE64_PATHS

JSON = {"Content-Type": "application/json"}


@pytest.mark.usefixtures("worker")
@pytest.mark.parametrize(
    "inputs",
    [
        in_base64(),
        base64.encodebytes(encoded()).decode(),  # in lines
        f"data:image/jpeg;base64,{in_base64()}",
        f"DATA:application/octet-stream;BASE64,{in_base64()}",
        f"data:text/html;base64,{in_base64()}",  # the content tells what it is
    ],
    ids=["base64", "lines", "data URL", "upper case", "wrong type"],
)
def test_a_picture_is_read_from_base64_and_data_urls(client: Client, inputs: str) -> None:
    assert ask(client, inputs).status_code == 200


@pytest.mark.parametrize(
    ("inputs", "status", "said"),
    [
        ("%%%", 400, "no valid base64"),
        ("é" * 100, 400, "no valid base64"),
        ("data:image/jpeg,%FF%D8", 400, "must be in base64"),
        ("data:image/jpeg;base64", 400, "no content"),
        ("data:text/html;base64," + base64.b64encode(b"<h1>Hello</h1>").decode(), 415, "not a picture"),
        ("", 400, "no content"),
        (7, 400, "must be text"),
        ({"url": "x"}, 400, "must be text"),
        (base64.b64encode(encoded()[:2000]).decode(), 422, "damaged"),
        (base64.b64encode(b"x" * 100_001).decode(), 413, "larger than the limit"),
        ("https://example.com/a.jpg", 403, "does not download pictures"),
    ],
)
def test_another_value_is_refused_with_a_sentence(client: Client, inputs: object, status: int, said: str) -> None:
    answer = ask(client, inputs)

    assert answer.status_code == status
    assert said in answer.json["error"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "no valid JSON"),
        (b'{"inputs": ', "no valid JSON"),
        (b"\xff\xfe", "no valid JSON"),
        (b"[" * 50_000, "no valid JSON"),
        (b'{"a":' * 30_000, "no valid JSON"),
        (b"[" + b"[]," * 60_000 + b"[]]", "more than 100000 values"),
        (b"[1]", "must be a JSON object"),
        (b"{}", "has no picture"),
    ],
)
def test_a_hostile_body_is_refused(client: Client, body: bytes, said: str) -> None:
    answer = client.post(PATH, data=body, headers=JSON)

    assert answer.status_code == 400
    assert said in answer.json["error"]


def test_a_body_above_the_limit_is_refused_in_the_shape_of_the_protocol(client: Client) -> None:
    answer = client.post(PATH, data=b'{"inputs": "' + b"A" * 300_000 + b'"}', headers=JSON)

    assert answer.status_code == 413
    assert "too large" in answer.json["error"]


def test_the_pictures_of_a_request_are_limited_together(client: Client) -> None:
    image = base64.b64encode(b"x" * 40_000).decode()

    answers = [client.post("/api/generate", json={"images": [image] * count}) for count in (2, 3)]

    assert [answer.status_code for answer in answers] == [415, 413]


def test_the_paths_with_higher_limits_are_routes(app: Flask) -> None:
    assert {rule.rule for rule in app.url_map.iter_rules() if "POST" in (rule.methods or ())} >= BASE64_PATHS


def test_a_picture_at_the_limit_fits_into_a_body(client: Client, settings: Settings) -> None:
    answer = ask(client, base64.b64encode(b"x" * settings.max_upload_bytes).decode())

    assert answer.status_code == 415  # it was decoded


class TestDownloads:
    @pytest.fixture
    def client(self, settings: Settings, redis: Redis) -> Client:
        fetching = settings.model_copy(update={"fetch_urls": True, "allow_local_urls": True})
        return create_app(fetching, redis=redis).test_client()

    @pytest.mark.usefixtures("worker")
    def test_a_picture_is_downloaded_from_a_url(self, client: Client) -> None:
        with running_receiver(with_status(200, encoded(), Content_Type="image/jpeg")) as server:
            answer = ask(client, server.url("/a%20b.jpg"))

        assert answer.status_code == 200
        assert client.get("/v1/jobs").json["jobs"][0]["input"]["filename"] == "a b.jpg"

    def test_downloads_of_a_request_end_together(self, client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("web.compat.pictures.DOWNLOADS_TIMEOUT", 0)
        with running_receiver(with_status(200, encoded(), Content_Type="image/jpeg")) as server:
            answer = ask(client, server.url("/a.jpg"))

        assert answer.status_code == 422
        assert "in time" in answer.json["error"]

    def test_the_error_of_a_download_is_in_the_shape_of_the_protocol(self, client: Client) -> None:
        with running_receiver(with_status(404)) as server:
            answer = ask(client, server.url("/a.jpg"))

        assert answer.status_code == 422
        assert "status 404" in answer.json["error"]
