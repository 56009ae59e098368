"""Fixtures: a worker in one process with fakeredis, an in-memory broker and a fake captioner."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest
from celery import Celery
from redis import Redis

from common.jobs import Job, new_id
from common.ledger import Components, Ledger, NewJob, Workers
from common.options import CaptionOptions
from common.queue import make_celery
from common.settings import Settings
from common.uploads import UploadStore
from tests.support.clock import Clock
from tests.support.images import IMAGE, encoded
from tests.unit.worker.fakes import FakeCaptioner, Notifications, with_timeout
from worker.runtime import WorkerRuntime
from worker.tasks import caption_waiting_jobs


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        data=tmp_path, broker_url="memory://", lease_seconds=30, max_attempts=3, retention=1000, max_batch=4
    )


@pytest.fixture
def components(redis: Redis, settings: Settings, clock: Clock) -> Components:
    return Components(redis, settings, clock)


@pytest.fixture
def ledger(components: Components) -> Ledger:
    return components.ledger


@pytest.fixture
def workers(components: Components) -> Workers:
    return components.workers


@pytest.fixture
def uploads(settings: Settings) -> UploadStore:
    store = UploadStore(settings.uploads_location)
    store.create()
    return store


@pytest.fixture
def celery(settings: Settings) -> Celery:
    return make_celery(settings)


@pytest.fixture
def notifications() -> Iterator[Notifications]:
    notifications = Notifications()
    notifications.clear()  # the in-memory broker is shared by all tests of the process
    yield notifications
    notifications.clear()


@pytest.fixture
def captioner() -> FakeCaptioner:
    return FakeCaptioner()


@pytest.fixture
def exit_codes() -> list[int]:
    """Exit codes with which the runtime called `exit_process`."""
    return []


@pytest.fixture
def runtime(
    settings: Settings,
    captioner: FakeCaptioner,
    celery: Celery,
    notifications: Notifications,
    components: Components,
    clock: Clock,
    exit_codes: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[WorkerRuntime]:
    """A runtime whose threads are not started; tests call their functions."""
    monkeypatch.setattr("worker.runtime.time", SimpleNamespace(monotonic=clock))
    worker = WorkerRuntime(settings, captioner, celery, components, exit_process=exit_codes.append)
    yield worker
    worker.close()


@pytest.fixture
def create_job(ledger: Ledger, uploads: UploadStore) -> Callable[..., Job]:
    """Creates a job as the web tier does: saves the image, then the record. With None, the image is missing."""

    def make(data: bytes | None = encoded(), batch: str | None = None, options: CaptionOptions | None = None) -> Job:
        job_id = new_id()
        uploads.save(job_id, data or b"")
        if data is None:
            uploads.delete(job_id)
        if batch:
            ledger._redis.hsetnx(f"batch:{batch}", "sealed", "0")
        sha256 = hashlib.sha256(data or b"").hexdigest()
        image = IMAGE.model_copy(update={"sha256": sha256})
        return ledger.create(job_id, NewJob(input=image, batch=batch, options=options))

    return make


@pytest.fixture
def run_task(runtime: WorkerRuntime) -> Callable[..., None]:
    """Runs the task as a notification does, with a timeout."""
    return lambda: with_timeout(partial(caption_waiting_jobs, runtime))
