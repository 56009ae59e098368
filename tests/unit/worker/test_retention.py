"""Nothing is kept longer than was promised, whoever died while it was saved, and no recovery takes long."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from redis import Redis

from common.jobs import Output, Timings
from common.ledger import Components, Ledger, NewJob, UnreferencedUploads
from common.ledger.recovery import RECOVERY_LIMIT
from common.ledger.unreferenced import GRACE
from common.settings import Settings
from common.uploads import FOLDERS, UploadStore
from tests.support.clock import Clock
from tests.unit.worker.conftest import PICTURE
from tests.unit.worker.fakes import MODEL
from worker.recovery import recover_once, tidy_once

TIMINGS = Timings(queue_seconds=0.0, model_seconds=0.1, batch_size=1)
MakeId = Callable[[], str]


@pytest.fixture
def id_now(clock: Clock) -> MakeId:
    """A UUIDv7 of the tests' time."""
    numbers = itertools.count()

    def make() -> str:
        number = next(numbers)
        stamp = f"{int(clock() * 1000):012x}"
        return f"{stamp[:8]}-{stamp[8:]}-7000-8000-{number // FOLDERS:010x}{number % FOLDERS:02x}"

    return make


def tidy_all(redis: Redis, unreferenced: UnreferencedUploads, store: UploadStore) -> None:
    """A look into each folder."""
    for _ in range(FOLDERS):
        redis.delete("tidying")  # its expiry follows the real clock
        tidy_once(unreferenced, store)


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@pytest.fixture
def unreferenced(components: Components) -> UnreferencedUploads:
    return components.unreferenced


@pytest.fixture(params=["file", "memory"])
def store(request: pytest.FixtureRequest, settings: Settings) -> UploadStore:
    """A folder, and a store that is none."""
    store = UploadStore(settings.uploads_location if request.param == "file" else f"memory://{settings.data}")
    store.create()
    return store


class TestOrphans:
    def test_a_picture_that_no_record_knows_is_deleted_when_its_time_is_over(
        self,
        ledger: Ledger,
        unreferenced: UnreferencedUploads,
        redis: Redis,
        store: UploadStore,
        clock: Clock,
        id_now: MakeId,
    ) -> None:
        orphan, known = id_now(), id_now()
        for job_id in (orphan, known):
            store.save(job_id, b"picture")
        ledger.create(known, NewJob(input=PICTURE))

        clock.advance(1000 + GRACE - 1)
        tidy_all(redis, unreferenced, store)
        young = [store.load(orphan), store.load(known)]
        clock.advance(2)
        tidy_all(redis, unreferenced, store)

        assert young == [b"picture"] * 2
        assert (len(store.list_files(0)), len(store.list_files(1))) == (0, 1)

    def test_what_was_never_saved_to_its_end_goes_too(
        self,
        unreferenced: UnreferencedUploads,
        redis: Redis,
        uploads: UploadStore,
        clock: Clock,
        id_now: MakeId,
        settings: Settings,
    ) -> None:
        job_id = id_now()
        uploads.save(job_id, b"picture")
        (whole,) = files(settings.data)
        os.rename(whole, whole.with_name(f"{job_id}.saving"))

        clock.advance(1000 + GRACE + 1)
        tidy_all(redis, unreferenced, uploads)

        assert files(settings.data) == []

    def test_one_folder_is_searched_a_minute_and_each_in_its_turn(
        self, unreferenced: UnreferencedUploads, redis: Redis
    ) -> None:
        searched = []
        for _ in range(FOLDERS):
            searched.append(unreferenced.next_folder(FOLDERS))
            assert unreferenced.next_folder(FOLDERS) is None
            assert 0 < redis.ttl("tidying") <= 60
            redis.delete("tidying")

        assert sorted(folder for folder in searched if folder is not None) == list(range(FOLDERS))


def test_a_day_of_recoveries_leaves_nothing_and_none_of_them_does_much(
    ledger: Ledger,
    unreferenced: UnreferencedUploads,
    uploads: UploadStore,
    components: Components,
    redis: Redis,
    settings: Settings,
    clock: Clock,
    id_now: MakeId,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """3,000 pictures come within an hour, in batches and in every state, every tenth without a record."""
    batches = components.batches
    deleted: list[str] = []
    delete_file = uploads.delete_file

    def counted(path: str) -> None:
        deleted.append(path)
        delete_file(path)

    monkeypatch.setattr(uploads, "delete_file", counted)
    monkeypatch.setattr("common.files.os.fsync", lambda descriptor: None)
    most = 0

    def recover() -> int:
        redis.delete("recovering", "tidying")  # their expiry follows the real clock
        before = len(deleted)
        recover_once(ledger, uploads, lambda waiting: None)
        tidy_once(unreferenced, uploads)
        return len(deleted) - before

    for number in range(3000):
        if number % 100 == 0:
            batches.create(batch := id_now())
        uploads.save(job_id := id_now(), b"picture")
        clock.advance(1.2)
        if number % 10 == 0:
            continue  # the web server was killed here
        ledger.create(job_id, NewJob(input=PICTURE, batch=batch, idempotency_key=job_id))
        if number % 3 == 0 and (claims := ledger.claim_next(1).claims) and number % 2:
            ledger.commit(claims[0], Output(caption="a ball"), model=MODEL, timings=TIMINGS)
        if number % 50 == 49:
            most = max(most, recover())
    for _ in range(24 * 60):
        clock.advance(60)
        most = max(most, recover())

    assert files(settings.data) == []
    assert 0 < most <= RECOVERY_LIMIT + 3000 // FOLDERS + 1
    marks = {key.partition(":")[0] for key in cast("list[str]", redis.keys("*"))}
    assert marks <= {"known", "batch", "caption", "recovering", "tidying", "tidied"}
    kept = [key for name in ("batch*", "caption:*", "known:*") for key in redis.keys(name) if redis.ttl(key) < 0]
    assert kept == []  # these expire by themselves
