"""A worker in one process: fakeredis, a broker in memory, a captioner without a model."""

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
from common.queue import make_celery
from common.settings import Settings
from common.uploads import UploadStore
from tests.support.clock import Clock
from tests.support.images import encoded
from tests.unit.worker.fakes import PICTURE, FakeCaptioner, Notifications, in_time
from worker.runtime import WorkerRuntime
from worker.tasks import work


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
    notifications.count()  # the memory is the process's: other tests notify there, too
    yield notifications
    notifications.count()


@pytest.fixture
def captioner() -> FakeCaptioner:
    return FakeCaptioner()


@pytest.fixture
def given_up() -> list[int]:
    """The exit codes with which the worker ended itself."""
    return []


@pytest.fixture
def runtime(
    settings: Settings,
    captioner: FakeCaptioner,
    celery: Celery,
    notifications: Notifications,
    components: Components,
    clock: Clock,
    given_up: list[int],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[WorkerRuntime]:
    """A worker that is not started: the tests do what its threads would do."""
    monkeypatch.setattr("worker.runtime.time", SimpleNamespace(monotonic=clock))
    worker = WorkerRuntime(settings, captioner, celery, components, give_up=given_up.append)
    yield worker
    worker.close()


@pytest.fixture
def wait_in(ledger: Ledger, uploads: UploadStore) -> Callable[..., Job]:
    """Makes a waiting job as the web tier does: first its picture, then its record. None: the picture is lost."""

    def make(data: bytes | None = encoded(), batch: str | None = None) -> Job:
        job_id = new_id()
        uploads.save(job_id, data or b"")
        if data is None:
            uploads.delete(job_id)
        sha256 = hashlib.sha256(data or b"").hexdigest()
        return ledger.create(job_id, NewJob(input=PICTURE.model_copy(update={"sha256": sha256}), batch=batch))

    return make


@pytest.fixture
def answer(runtime: WorkerRuntime) -> Callable[..., None]:
    """What the worker does at a notification."""
    return lambda: in_time(partial(work, runtime))
