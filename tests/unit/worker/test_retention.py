"""Retention: expired and unreferenced images are deleted, a limited number per recovery."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from redis import Redis

from common.jobs import Output, Timings
from common.ledger import Components, Counters, Ledger, NewJob, UnreferencedUploads
from common.ledger.recovery import RECOVERY_LIMIT
from common.ledger.unreferenced import GRACE_PERIOD
from common.settings import Settings
from common.uploads import FOLDERS, UploadStore
from tests.support.claims import commit
from tests.support.clock import Clock
from tests.support.images import IMAGE
from tests.unit.worker.fakes import MODEL
from worker.recovery import delete_unreferenced_once, recover_once

TIMINGS = Timings(queue_seconds=0.0, model_seconds=0.1, batch_size=1)
MakeId = Callable[[], str]


@pytest.fixture
def new_job_id(clock: Clock) -> MakeId:
    """Creates UUIDv7 ids with the time of the test clock."""
    numbers = itertools.count()

    def make() -> str:
        number = next(numbers)
        stamp = f"{int(clock() * 1000):012x}"
        return f"{stamp[:8]}-{stamp[8:]}-7000-8000-{number // FOLDERS:010x}{number % FOLDERS:02x}"

    return make


def scan_all_folders(redis: Redis, unreferenced: UnreferencedUploads, store: UploadStore) -> None:
    """Scan each folder once."""
    for _ in range(FOLDERS):
        redis.delete("tidying")  # its TTL follows the real clock
        delete_unreferenced_once(unreferenced, store, Counters(redis))


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
def unreferenced(components: Components) -> UnreferencedUploads:
    return components.unreferenced


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, settings: Settings) -> UploadStore:
    """A store on the local disk, and a store in memory."""
    store = UploadStore(settings.uploads_location if request.param == "file" else f"memory://{settings.data}")
    store.create()
    return store


class TestUnreferencedUploads:
    def test_an_unreferenced_image_is_deleted_after_retention_and_grace_period(
        self,
        ledger: Ledger,
        unreferenced: UnreferencedUploads,
        redis: Redis,
        store: UploadStore,
        clock: Clock,
        new_job_id: MakeId,
    ) -> None:
        unreferenced_id, recorded_id = new_job_id(), new_job_id()
        for job_id in (unreferenced_id, recorded_id):
            store.save(job_id, b"picture")
        ledger.create(recorded_id, NewJob(input=IMAGE))

        clock.advance(1000 + GRACE_PERIOD - 1)
        scan_all_folders(redis, unreferenced, store)
        young = [store.load(unreferenced_id), store.load(recorded_id)]
        clock.advance(2)
        scan_all_folders(redis, unreferenced, store)

        assert young == [b"picture"] * 2
        assert (len(store.list_files(0)), len(store.list_files(1))) == (0, 1)

    def test_an_incomplete_upload_is_deleted(
        self,
        unreferenced: UnreferencedUploads,
        redis: Redis,
        uploads: UploadStore,
        clock: Clock,
        new_job_id: MakeId,
        settings: Settings,
    ) -> None:
        job_id = new_job_id()
        uploads.save(job_id, b"picture")
        (path,) = files(settings.data)
        os.rename(path, path.with_name(f"{job_id}.saving"))

        clock.advance(1000 + GRACE_PERIOD + 1)
        scan_all_folders(redis, unreferenced, uploads)

        assert files(settings.data) == []

    def test_one_folder_per_minute_is_scanned_in_turn(self, unreferenced: UnreferencedUploads, redis: Redis) -> None:
        scanned = []
        for _ in range(FOLDERS):
            scanned.append(unreferenced.next_folder(FOLDERS))
            assert unreferenced.next_folder(FOLDERS) is None
            assert 0 < redis.ttl("tidying") <= 60
            redis.delete("tidying")

        assert sorted(folder for folder in scanned if folder is not None) == list(range(FOLDERS))


def test_recoveries_of_a_day_delete_everything_in_small_steps(
    ledger: Ledger,
    unreferenced: UnreferencedUploads,
    uploads: UploadStore,
    components: Components,
    redis: Redis,
    settings: Settings,
    clock: Clock,
    new_job_id: MakeId,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """3,000 images arrive within an hour, in batches and in every state, every tenth without a record."""
    batches = components.batches
    deleted: list[str] = []
    delete_file = uploads.delete_file

    def counting_discard(path: str) -> None:
        deleted.append(path)
        delete_file(path)

    monkeypatch.setattr(uploads, "delete_file", counting_discard)
    monkeypatch.setattr("common.files.os.fsync", lambda descriptor: None)
    max_deleted = 0

    def recover() -> int:
        redis.delete("recovering", "tidying")  # their TTL follows the real clock
        before = len(deleted)
        recover_once(ledger, batches, uploads, lambda waiting, model: None, components.counters)
        delete_unreferenced_once(unreferenced, uploads, components.counters)
        return len(deleted) - before

    for number in range(3000):
        if number % 100 == 0:
            batches.create(batch := new_job_id())
        uploads.save(job_id := new_job_id(), b"picture")
        clock.advance(1.2)
        if number % 10 == 0:
            continue  # the web server was killed here
        ledger.create(job_id, NewJob(input=IMAGE, batch=batch, idempotency_key=job_id))
        if number % 3 == 0 and (claims := ledger.claim_next(1).claims) and number % 2:
            commit(ledger, claims[0], Output(caption="a ball"), model=MODEL, timings=TIMINGS)
        if number % 50 == 49:
            max_deleted = max(max_deleted, recover())
    for _ in range(24 * 60):
        clock.advance(60)
        max_deleted = max(max_deleted, recover())

    assert files(settings.data) == []
    assert 0 < max_deleted <= RECOVERY_LIMIT + 3000 // FOLDERS + 1
    key_types = {key.partition(":")[0] for key in cast("list[str]", redis.keys("*"))}
    assert key_types <= {"known", "batch", "caption", "metrics", "recovering", "schema", "tidying", "tidied", "turn"}
    without_ttl = [key for name in ("batch*", "caption:*", "known:*") for key in redis.keys(name) if redis.ttl(key) < 0]
    assert without_ttl == []
