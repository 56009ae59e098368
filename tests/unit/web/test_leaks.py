"""No answer tells where on the server something lies, nor what went wrong inside."""

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

#: What stands in no answer but in the data folder's path, or in texts of Python and its packages.
TELLING = ("telling-folder", str(PROJECT_ROOT), "Traceback", "Errno", "site-packages", "PosixPath", "RuntimeError")


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(data=tmp_path / "telling-folder", broker_url="memory://", max_upload_bytes=100_000)


@pytest.fixture
def app(settings: Settings, redis: Redis) -> Flask:
    return create_app(settings, redis=redis)


def answers(app: Flask, client: Client, job_id: str, batch_id: str) -> Iterator[str]:
    """Head and body of what every route says to good and bad requests."""
    bodies: tuple[dict[str, object], ...] = (
        {},
        {"data": b"\xff\xd8text", "content_type": "image/jpeg"},
        {"data": encoded(), "content_type": "image/jpeg"},
        {"data": b"--x\r\nbroken", "content_type": "multipart/form-data; boundary=x"},
        {"query_string": {"cursor": "../../etc", "limit": "x", "size": "9" * 99}},
        {"headers": {"Accept": "text/html", "Prefer": "wait=x", "Range": "bytes=x", "If-None-Match": "\x80"}},
    )
    for rule in list(app.url_map.iter_rules()):
        for name, method, body in itertools.product(("../x", job_id), ("GET", "POST", "PUT", "DELETE"), bodies):
            if method == "DELETE" and name == job_id:
                continue
            path = rule.rule.replace("<job_id>", name).replace("<batch_id>", batch_id)
            with client.open(path.replace("<path:filename>", "../app.py"), method=method, **body) as answer:
                yield f"{method} {path} {answer.headers} {answer.text if answer.mimetype != 'image/jpeg' else ''}"


def assert_silent(app: Flask, client: Client, job_id: str, batch_id: str) -> None:
    for answer in answers(app, client, job_id, batch_id):
        assert not [word for word in TELLING if word in answer], answer


@pytest.fixture
def job_id(client: Client) -> str:
    return str(client.post("/v1/jobs", data={"image": (io.BytesIO(encoded()), "a.jpg")}).json["id"])


@pytest.fixture
def batch_id(client: Client) -> str:
    return str(client.post("/v1/batches", data={"images": [(io.BytesIO(encoded()), "a.jpg")]}).json["id"])


def test_when_all_is_well(app: Flask, client: Client, job_id: str, batch_id: str) -> None:
    assert_silent(app, client, job_id, batch_id)


def test_when_redis_is_away(
    app: Flask, client: Client, job_id: str, batch_id: str, server: fakeredis.FakeServer
) -> None:
    server.connected = False

    assert_silent(app, client, job_id, batch_id)


def test_when_the_pictures_cannot_be_read_or_written(
    app: Flask, client: Client, job_id: str, batch_id: str, settings: Settings
) -> None:
    uploads = settings.data / "uploads"
    uploads.rename(settings.data / "elsewhere")
    uploads.write_text("a file, where a folder should be")

    assert_silent(app, client, job_id, batch_id)


def test_a_static_address_leads_out_of_its_folder_for_nobody(client: Client) -> None:
    for path in ("/static/../app.py", "/static/%2e%2e/app.py", "/static/..%2fapp.py"):
        assert client.get(path).status_code == 404
