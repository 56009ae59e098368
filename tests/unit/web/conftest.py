"""Fixtures of the web tier in one process: fakeredis, an in-memory broker, and stand-ins for the worker."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from redis import Redis

from common.jobs import ModelInfo, Output, Timings
from common.ledger import Components, Ledger, Worker
from common.settings import COMPAT_PROTOCOLS, Settings
from tests.support.claims import claim_job, commit
from tests.unit.web.client import MODEL, Client
from web import create_app, server


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        data=tmp_path,
        broker_url="memory://",
        max_upload_bytes=100_000,
        max_batch_bytes=300_000,
        max_batch_items=4,
        compat=",".join(COMPAT_PROTOCOLS),
    )


@pytest.fixture
def app(settings: Settings, redis: Redis) -> Flask:
    return create_app(settings, redis=redis)


@pytest.fixture
def client(app: Flask) -> Client:
    return app.test_client()


@pytest.fixture
def serve(redis: Redis) -> Iterator[Callable[[Settings], int]]:
    """Starts a server with the given settings; returns its port."""
    running: list[tuple[Any, threading.Thread]] = []

    def start(settings: Settings) -> int:
        http_server = server.create_server(create_app(settings, redis=redis), settings)
        thread = threading.Thread(target=http_server.run, daemon=True)
        thread.start()
        running.append((http_server, thread))
        return int(http_server.adj.sockets[0].getsockname()[1])

    yield start
    for http_server, thread in running:
        # The attribute depends on the number of listening sockets.
        http_server.asyncore.close_all(getattr(http_server, "map", None) or http_server._map)
        thread.join(10)
        http_server.task_dispatcher.shutdown(timeout=5)


@pytest.fixture
def components(redis: Redis, settings: Settings) -> Components:
    return Components(redis, settings)


@pytest.fixture
def ledger(components: Components) -> Ledger:
    return components.ledger


@pytest.fixture
def caption(ledger: Ledger) -> Callable[[str, str], None]:
    """Finishes a job with a caption, as a worker does."""

    def finish(job_id: str, text: str) -> None:
        claim = claim_job(ledger, job_id, MODEL.name)
        assert claim is not None
        timings = Timings(queue_seconds=0.1, model_seconds=0.2, batch_size=1)
        assert commit(ledger, claim, Output(caption=text, score=-0.5, confidence=0.3), model=MODEL, timings=timings)

    return finish


@pytest.fixture
def announce(components: Components) -> Callable[[ModelInfo], object]:
    """Announces a live worker with a model, as its heartbeat does."""
    return lambda model: components.workers.announce(Worker(name="host-1", model=model, pictures_per_second=2.0))


@pytest.fixture
def stored(settings: Settings) -> Callable[[], list[Path]]:
    """The files of the upload store."""
    return lambda: [path for path in (settings.data / "uploads").rglob("*") if path.is_file()]
