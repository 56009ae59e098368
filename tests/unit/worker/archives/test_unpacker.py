"""Unpacking: each file of an archive gets one job, whichever worker is killed, and limits are waited for."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from redis import Redis

from common import problems
from common.jobs import Batch, BatchStatus, Job, Status, new_id
from common.ledger import Batches, Components, Ledger, NewBatch, Principal
from common.options import CaptionOptions
from common.settings import Settings
from common.uploads import UploadStore, UploadsUnavailable
from tests.support.archives import zipped
from tests.support.clock import Clock
from tests.support.images import encoded, numbered
from tests.unit.worker.fakes import OTHER_MODEL, Notifications
from worker.archives.reader import ArchiveReader, Entry
from worker.archives.unpacker import Unpacker
from worker.leased import RETRY_DELAY
from worker.runtime import WorkerRuntime

FILES = {f"summer/{number}.jpg": data for number, data in enumerate(numbered(3))} | {"readme.txt": b"text"}
MakeArchive = Callable[..., str]


@pytest.fixture
def batches(components: Components) -> Batches:
    return components.batches


@pytest.fixture
def send_archive(batches: Batches, uploads: UploadStore) -> MakeArchive:
    """Stores an archive and records its batch, as the web tier does; returns the batch's id."""

    def send(data: bytes = zipped(FILES), options: CaptionOptions | None = None) -> str:
        uploads.save(batch_id := new_id(), data)
        batches.create(batch_id, NewBatch(archive="a.zip", archive_bytes=len(data), options=options))
        return batch_id

    return send


def jobs_of(batches: Batches, batch_id: str) -> list[Job]:
    return list(batches.jobs(batch_id))


def error_of(batch: Batch) -> str | None:
    return batch.archive.error.type if batch.archive and batch.archive.error else None


def test_each_file_gets_a_job_and_the_archive_is_deleted(
    runtime: WorkerRuntime, batches: Batches, send_archive: MakeArchive, uploads: UploadStore, settings: Settings
) -> None:
    batch_id = send_archive()
    before = batches.get(batch_id)
    runtime.unpack()

    after, jobs = batches.get(batch_id), jobs_of(batches, batch_id)
    assert before.archive and (before.status, before.archive.status) == (BatchStatus.IN_PROGRESS, "waiting")
    assert after.archive and (after.status, after.archive.status) == (BatchStatus.IN_PROGRESS, "done")
    assert [job.custom_id for job in jobs] == list(FILES)
    assert [job.status for job in jobs] == [Status.QUEUED] * 3 + [Status.FAILED]
    assert jobs[0].input and jobs[0].input.filename == "0.jpg"
    assert jobs[3].error and jobs[3].error.type == "/problems/unsupported-image"
    assert {path.name for path in (settings.data / "uploads").rglob("*") if path.is_file()} == {
        job.id for job in jobs[:3]
    }


def test_the_jobs_of_an_archive_that_asks_for_a_model_are_notified_to_its_workers(
    runtime: WorkerRuntime, batches: Batches, send_archive: MakeArchive, notifications: Notifications
) -> None:
    options = CaptionOptions(model=OTHER_MODEL)
    batch_id = send_archive(options=options)
    runtime.unpack()

    assert {job.options for job in jobs_of(batches, batch_id)} == {options}
    assert [notifications.count(), notifications.count(OTHER_MODEL)] == [0, 1]


def test_the_jobs_of_an_archive_belong_to_the_owner_of_the_batch(
    runtime: WorkerRuntime, batches: Batches, uploads: UploadStore, ledger: Ledger
) -> None:
    alice, data = Principal("alice", sees_all=False), zipped(FILES)
    uploads.save(batch_id := new_id(), data)
    batches.for_principal(alice).create(batch_id, NewBatch(archive="a.zip", archive_bytes=len(data)))
    runtime.unpack()

    assert len(ledger.for_principal(alice).recent()[0]) == len(FILES)
    assert ledger.for_principal(Principal("bob", sees_all=False)).recent()[0] == []


def test_the_images_of_an_archive_are_captioned(
    runtime: WorkerRuntime, batches: Batches, send_archive: MakeArchive, run_task: Callable[..., None]
) -> None:
    batch_id = send_archive()
    runtime.unpack()
    run_task()

    batch = batches.get(batch_id)
    assert (batch.status, batch.request_counts.succeeded) == (BatchStatus.COMPLETED, 3)


def test_workers_are_notified_while_the_rest_is_unpacked(
    runtime: WorkerRuntime,
    send_archive: MakeArchive,
    notifications: Notifications,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    image, counts = encoded(), []
    send_archive(zipped({f"{number}.jpg": image for number in range(20)}))
    read = ArchiveReader.read

    def counting_read(*arguments: object) -> bytes:
        counts.append(notifications.count())
        return read(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(ArchiveReader, "read", counting_read)
    runtime.unpack()

    assert (sum(counts[:9]), sum(counts[9:]), notifications.count()) == (1, 1, 1)


@pytest.mark.parametrize("recorded", [0, 1, 3, 4])
def test_a_killed_worker_s_archive_is_continued_without_a_second_job(
    runtime: WorkerRuntime,
    batches: Batches,
    send_archive: MakeArchive,
    clock: Clock,
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
    recorded: int,
) -> None:
    batch_id = send_archive()
    reads: list[str] = []
    read = ArchiveReader.read

    def die_after(reader: ArchiveReader, entry: object) -> bytes:
        if len(reads) == recorded:
            raise KeyboardInterrupt
        reads.append(entry.key)  # type: ignore[attr-defined]
        return read(reader, entry)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(ArchiveReader, "read", die_after)
        if recorded == 4:
            patched.setattr(runtime.unpacker, "_finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            runtime.unpack()
    runtime.unpack()  # the lease has not ended
    before, attempts = batches.get(batch_id).request_counts.total, redis.hget(f"batch:{batch_id}", "archive_attempts")
    clock.advance(31)
    runtime.unpack()

    assert before == recorded
    assert attempts == ("0" if recorded else "1")  # at once, not when the lease is extended
    assert sorted(str(job.custom_id) for job in jobs_of(batches, batch_id)) == sorted(FILES)
    assert batches.get(batch_id).archive.status == "done"  # type: ignore[union-attr]


def test_two_workers_with_one_archive_create_each_job_once(
    runtime: WorkerRuntime,
    batches: Batches,
    send_archive: MakeArchive,
    components: Components,
    uploads: UploadStore,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
) -> None:
    """The first worker is paused beyond its lease, and continues when the second one has begun."""
    batch_id = send_archive()
    read, nested = ArchiveReader.read, list[bool]()

    def read_after_the_second_worker(reader: ArchiveReader, entry: object) -> bytes:
        data = read(reader, entry)  # type: ignore[arg-type]
        if not nested:
            nested.append(True)
            clock.advance(31)
            Unpacker(settings, components, uploads, runtime.celery).run(threading.Event())
        return data

    monkeypatch.setattr(ArchiveReader, "read", read_after_the_second_worker)
    runtime.unpack()

    assert [job.custom_id for job in jobs_of(batches, batch_id)] == list(FILES)
    assert batches.get(batch_id).archive.status == "done"  # type: ignore[union-attr]
    assert len([path for path in (settings.data / "uploads").rglob("*") if path.is_file()]) == 3


def test_a_lost_claim_ends_the_unpacking(
    runtime: WorkerRuntime, batches: Batches, send_archive: MakeArchive, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    batch_id = send_archive()
    read = ArchiveReader.read

    def lose_claim(reader: ArchiveReader, entry: object) -> bytes:
        redis.hset(f"batch:{batch_id}", "archive_token", "another worker's")
        runtime.extend()
        return read(reader, entry)  # type: ignore[arg-type]

    monkeypatch.setattr(ArchiveReader, "read", lose_claim)
    runtime.unpack()

    batch = batches.get(batch_id)
    assert batch.request_counts.total == 1
    assert batch.archive and batch.archive.status == "unpacking"


def test_a_stopping_worker_hands_the_archive_back(
    runtime: WorkerRuntime, batches: Batches, send_archive: MakeArchive, monkeypatch: pytest.MonkeyPatch, redis: Redis
) -> None:
    batch_id = send_archive()
    read = ArchiveReader.read

    def stop(reader: ArchiveReader, entry: object) -> bytes:
        runtime.stopping.set()
        return read(reader, entry)  # type: ignore[arg-type]

    monkeypatch.setattr(ArchiveReader, "read", stop)
    runtime.unpack()
    monkeypatch.undo()
    attempts = redis.hget(f"batch:{batch_id}", "archive_attempts")
    runtime.stopping.clear()
    runtime.unpacker.run(threading.Event())

    assert attempts == "0"
    assert [job.custom_id for job in jobs_of(batches, batch_id)] == list(FILES)


def test_an_archive_that_loses_its_workers_fails(
    runtime: WorkerRuntime, batches: Batches, send_archive: MakeArchive, components: Components, clock: Clock
) -> None:
    batch_id = send_archive()
    for _ in range(3):
        assert components.archives.claim()
        clock.advance(31)
    runtime.unpack()

    assert error_of(batches.get(batch_id)) == problems.WORKER_LOST.type
    assert batches.get(batch_id).status is BatchStatus.COMPLETED


def test_a_worker_that_records_jobs_does_not_use_up_an_attempt(
    send_archive: MakeArchive, components: Components, clock: Clock
) -> None:
    send_archive()
    attempts = []
    for _ in range(5):
        claim = components.archives.claim()
        assert claim and components.archives.extend(claim, attempts=0)
        attempts.append(claim.attempts)
        clock.advance(31)

    assert attempts == [1] * 5


def test_full_queues_delay_the_unpacking(
    runtime: WorkerRuntime,
    batches: Batches,
    send_archive: MakeArchive,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch_id = send_archive()
    refusals = [problems.QUEUE_FULL("Full."), problems.QUOTA_USED_UP("Used up.")]
    admit = Ledger.admit

    def refuse_twice(ledger: Ledger, images: int = 1) -> None:
        if refusals:
            raise refusals.pop()
        admit(ledger, images)

    monkeypatch.setattr(Ledger, "admit", refuse_twice)
    monkeypatch.setattr("worker.archives.unpacker.ADMISSION_INTERVAL", 0.001)
    runtime.unpack()

    assert refusals == []
    assert len(jobs_of(batches, batch_id)) == len(FILES)


@pytest.mark.parametrize(("data", "kind"), [(b"text", problems.BAD_ARCHIVE), (bytes(99), problems.BAD_ARCHIVE)])
def test_a_file_that_is_no_archive_fails_the_archive_and_completes_the_batch(
    runtime: WorkerRuntime, batches: Batches, send_archive: MakeArchive, data: bytes, kind: problems.Kind
) -> None:
    batch_id = send_archive(data)
    runtime.unpack()

    batch = batches.get(batch_id)
    assert batch.archive and (batch.status, batch.archive.status) == (BatchStatus.COMPLETED, "failed")
    assert error_of(batch) == kind.type


def before_each_entry(monkeypatch: pytest.MonkeyPatch, action: Callable[[], object]) -> None:
    """Do something whenever an entry of an archive is about to be read."""
    read = ArchiveReader.read

    def act_and_read(reader: ArchiveReader, entry: Entry) -> bytes:
        action()
        return read(reader, entry)

    monkeypatch.setattr(ArchiveReader, "read", act_and_read)


def test_a_canceled_batch_is_not_unpacked_further(
    runtime: WorkerRuntime,
    batches: Batches,
    send_archive: MakeArchive,
    monkeypatch: pytest.MonkeyPatch,
    settings: Settings,
) -> None:
    batch_id = send_archive()
    before_each_entry(monkeypatch, lambda: batches.cancel(batch_id))
    runtime.unpack()

    batch = batches.get(batch_id)
    assert (batch.status, error_of(batch)) == (BatchStatus.CANCELED, problems.BATCH_SEALED.type)
    assert jobs_of(batches, batch_id) == []
    assert [path for path in (settings.data / "uploads").rglob("*") if path.is_file()] == []


def test_a_deleted_batch_is_not_unpacked_further(
    runtime: WorkerRuntime,
    batches: Batches,
    send_archive: MakeArchive,
    redis: Redis,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    batch_id = send_archive()
    before_each_entry(monkeypatch, lambda: batches.delete(batch_id))
    runtime.unpack()

    assert [key for key in redis.scan_iter() if batch_id in key] == [f"known:{batch_id}"]


@pytest.mark.parametrize("step", ["open", "save"])
def test_an_unavailable_store_postpones_the_archive(
    runtime: WorkerRuntime,
    batches: Batches,
    send_archive: MakeArchive,
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    step: str,
) -> None:
    batch_id = send_archive()

    def fail(*_: object) -> None:
        raise UploadsUnavailable

    with monkeypatch.context() as patched:
        patched.setattr(UploadStore, step, fail)
        runtime.unpack()
    runtime.unpack()
    before = batches.get(batch_id)
    clock.advance(RETRY_DELAY)
    runtime.unpack()

    assert (before.archive and before.archive.status, before.request_counts.total) == ("unpacking", 0)
    assert [job.custom_id for job in jobs_of(batches, batch_id)] == list(FILES)


def test_an_archive_that_the_store_returns_incomplete_is_read_again(
    runtime: WorkerRuntime, batches: Batches, send_archive: MakeArchive, uploads: UploadStore, clock: Clock
) -> None:
    batch_id = send_archive()
    uploads.save(batch_id, zipped(FILES)[:-10])
    runtime.unpack()
    uploads.save(batch_id, zipped(FILES))
    clock.advance(RETRY_DELAY)
    runtime.unpack()

    assert batches.get(batch_id).request_counts.total == len(FILES)


def test_an_expired_archive_is_deleted_with_its_batch(
    runtime: WorkerRuntime, batches: Batches, send_archive: MakeArchive, clock: Clock, redis: Redis, tmp_path: Path
) -> None:
    batch_id = send_archive()
    clock.advance(1001)
    runtime.recover()

    assert [key for key in redis.scan_iter() if batch_id in key] == [f"known:{batch_id}"]
    assert redis.exists("archives", "batches", "expiring:batches") == 0
    assert [path for path in (tmp_path / "uploads").rglob("*") if path.is_file()] == []
