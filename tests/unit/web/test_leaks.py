"""No response discloses paths of the server or details of exceptions."""

from __future__ import annotations

import io
import itertools
from collections.abc import Iterator
from pathlib import Path

import fakeredis
import pytest
from flask import Flask
from redis import Redis

from common.settings import PROJECT_ROOT, Settings
from tests.support.images import encoded
from tests.unit.web.client import Client
from web import create_app

#: Parts of the server's paths and of Python's error messages.
INTERNALS = ("secret-folder", str(PROJECT_ROOT), "Traceback", "Errno", "site-packages", "PosixPath", "RuntimeError")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path / "secret-folder", broker_url="memory://", max_upload_bytes=100_000)


@pytest.fixture
def app(settings: Settings, redis: Redis) -> Flask:
    return create_app(settings, redis=redis)


def responses(app: Flask, client: Client, job_id: str, batch_id: str) -> Iterator[str]:
    """Headers and body of the response of every route to valid and invalid requests."""
    requests: tuple[dict[str, object], ...] = (
        {},
        {"data": b"\xff\xd8text", "content_type": "image/jpeg"},
        {"data": encoded(), "content_type": "image/jpeg"},
        {"data": b"--x\r\nbroken", "content_type": "multipart/form-data; boundary=x"},
        {"query_string": {"cursor": "../../etc", "limit": "x", "size": "9" * 99}},
        {"headers": {"Accept": "text/html", "Prefer": "wait=x", "Range": "bytes=x", "If-None-Match": "\x80"}},
    )
    for rule in list(app.url_map.iter_rules()):
        for name, method, options in itertools.product(("../x", job_id), ("GET", "POST", "PUT", "DELETE"), requests):
            if method == "DELETE" and name == job_id:
                continue
            path = rule.rule.replace("<job_id>", name).replace("<batch_id>", batch_id)
            with client.open(path.replace("<path:filename>", "../app.py"), method=method, **options) as response:
                text = "" if response.mimetype == "image/jpeg" else response.text
                yield f"{method} {path} {response.headers} {text}"


def assert_no_leaks(app: Flask, client: Client, job_id: str, batch_id: str) -> None:
    for response in responses(app, client, job_id, batch_id):
        assert not [word for word in INTERNALS if word in response], response


@pytest.fixture
def job_id(client: Client) -> str:
    return str(client.post("/v1/jobs", data={"image": (io.BytesIO(encoded()), "a.jpg")}).json["id"])


@pytest.fixture
def batch_id(client: Client) -> str:
    return str(client.post("/v1/batches", data={"images": [(io.BytesIO(encoded()), "a.jpg")]}).json["id"])


def test_no_leaks_in_normal_operation(app: Flask, client: Client, job_id: str, batch_id: str) -> None:
    assert_no_leaks(app, client, job_id, batch_id)


def test_no_leaks_without_redis(
    app: Flask, client: Client, job_id: str, batch_id: str, server: fakeredis.FakeServer
) -> None:
    server.connected = False

    assert_no_leaks(app, client, job_id, batch_id)


def test_no_leaks_without_the_upload_store(
    app: Flask, client: Client, job_id: str, batch_id: str, settings: Settings
) -> None:
    uploads = settings.data / "uploads"
    uploads.rename(settings.data / "elsewhere")
    uploads.write_text("a file in the place of the folder")

    assert_no_leaks(app, client, job_id, batch_id)


def test_static_paths_cannot_leave_their_folder(client: Client) -> None:
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py"):
        assert client.get(path).status_code == 404
