"""Batches of manifests: each picture gets a row in a file of results, whichever worker is killed and whatever fails."""

from __future__ import annotations

import io
import json
import os
import tarfile
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fakeredis
import pyarrow
import pytest
from fsspec.implementations.local import LocalFileSystem
from pyarrow import parquet
from redis import Redis

from captioning.captioner import ModelUnavailable
from common import problems
from common.jobs import Batch, BatchStatus, Job, Status
from common.ledger import Batches, Components, Ledger
from common.manifest_records import ManifestStatus
from common.options import CaptionOptions
from common.settings import Settings
from common.translation import Message
from tests.support.clock import Clock
from tests.unit.worker.fakes import MODEL, OTHER_MODEL, FakeCaptioner, Gate, eventually, with_timeout
from tests.unit.worker.manifests.conftest import WIDTHS, Send, results
from worker.leased import RETRY_DELAY
from worker.manifests.chunk_worker import ChunkWorker
from worker.runtime import WorkerRuntime

Finish = Callable[[], None]


@pytest.fixture
def manifest(folder: Path) -> str:
    """A manifest with each picture of the folder, one that is missing, and one that is no picture."""
    names = [*(f"{number}.png" for number in range(len(WIDTHS))), "missing.png", "manifest.jsonl"]
    (folder / "manifest.jsonl").write_text("".join(f"{json.dumps(name)}\n" for name in names), encoding="utf-8")
    return "manifest.jsonl"


def manifest_of(batch: Batch) -> Any:
    assert batch.manifest is not None
    return batch.manifest


def test_each_picture_of_a_manifest_gets_a_row_in_its_order(
    send: Send, finish: Finish, manifest: str, batches: Batches, settings: Settings
) -> None:
    batch_id = send(manifest)
    before = batches.get(batch_id)
    finish()

    after, rows = batches.get(batch_id), results(settings, batch_id)
    assert (before.status, manifest_of(before).status) == (BatchStatus.IN_PROGRESS, ManifestStatus.WAITING)
    assert (after.status, manifest_of(after).status) == (BatchStatus.COMPLETED, ManifestStatus.DONE)
    assert manifest_of(after).chunks.model_dump() == {"total": 2, "done": 2, "failed": 0, "canceled": 0}
    assert manifest_of(after).pictures.model_dump() == {"captioned": 4, "failed": 2}
    assert [row["caption"] for row in rows] == [*(f"{width} wide" for width in WIDTHS), None, None]
    assert rows[0] == {
        "custom_id": "0.png",
        "file_name": "0.png",
        "status": "succeeded",
        "caption": "40 wide",
        "score": -1.0,
        "confidence": None,
        "unsure": None,
        "translated": None,
        "model": MODEL.name,
        "error": None,
    }
    assert [row["model"] for row in rows[4:]] == [None, None]
    assert [row["error"]["type"] for row in rows[4:]] == ["/problems/file-unreadable", "/problems/unsupported-image"]


def test_a_manifest_that_asks_for_another_model_is_cut_and_waits_for_a_worker_with_it(
    send: Send, finish: Finish, manifest: str, batches: Batches
) -> None:
    other = send(manifest, options=CaptionOptions(model=OTHER_MODEL))
    own = send(manifest, options=CaptionOptions(model=MODEL.name))
    finish()

    assert manifest_of(batches.get(other)).chunks.model_dump() == {"total": 2, "done": 0, "failed": 0, "canceled": 0}
    assert manifest_of(batches.get(own)).chunks.done == 2


def test_the_results_are_the_same_bytes_whoever_writes_them(
    send: Send, finish: Finish, manifest: str, settings: Settings
) -> None:
    batch_ids = [send(manifest, output=output) for output in ("once", "again", "again")]
    finish()

    once, again = (
        {path.name: path.read_bytes() for path in (settings.data / "results" / output).iterdir()}
        for output in ("once", "again")
    )
    assert once == again and sorted(once) == ["part-00000.jsonl", "part-00001.jsonl"]
    assert not any(batch_id.encode() in content for batch_id in batch_ids for content in once.values())


def test_results_can_be_tables(
    send: Send, finish: Finish, manifest: str, settings: Settings, captioner: FakeCaptioner
) -> None:
    first, second = send(manifest), send(manifest, format="parquet")
    finish()

    folder = settings.data / "results" / second
    tables = pyarrow.concat_tables(parquet.read_table(path) for path in sorted(folder.iterdir()))
    assert sorted(path.name for path in folder.iterdir()) == ["part-00000.parquet", "part-00001.parquet"]
    assert tables.to_pylist() == results(settings, first)


def test_captions_are_as_the_batch_s_options_ask(
    send: Send, finish: Finish, manifest: str, settings: Settings, captioner: FakeCaptioner
) -> None:
    batch_id = send(manifest, options=CaptionOptions(template="a photo: {caption}", beams=2))
    finish()

    assert results(settings, batch_id)[0]["caption"] == "a photo: 40 wide"
    assert {search.beams for search in captioner.searches if search} == {2}


def test_the_pictures_of_a_folder_are_listed_once(
    send: Send, finish: Finish, folder: Path, settings: Settings, runtime: WorkerRuntime
) -> None:
    (folder / "sub").mkdir()
    (folder / "0.png").rename(folder / "sub" / "0.png")
    (folder / "notes.txt").write_text("no picture", encoding="utf-8")
    (folder / "._1.png").write_text("metadata of macOS", encoding="utf-8")
    (folder / "link.png").symlink_to(folder / "1.png")
    batch_id = send("")
    runtime.cut()
    (folder / "late.png").write_bytes((folder / "1.png").read_bytes())
    finish()

    rows = results(settings, batch_id)
    assert [row["custom_id"] for row in rows] == ["1.png", "2.png", "3.png", "sub/0.png"]
    assert all(row["caption"] for row in rows)


def test_shards_of_a_webdataset_are_read_by_a_range_of_numbers_or_as_a_folder(
    send: Send, finish: Finish, folder: Path, settings: Settings
) -> None:
    (folder / "shards").mkdir()
    for shard in range(2):
        with tarfile.open(folder / "shards" / f"all-{shard:03}.tar", "w") as tar:
            for number in (2 * shard, 2 * shard + 1):
                tar.add(folder / f"{number}.png", f"{number:05}.png")
    batch_ids = send("shards/all-{000..001}.tar"), send("shards/")
    finish()

    first, second = (results(settings, batch_id) for batch_id in batch_ids)
    assert first == second
    assert [(row["custom_id"], row["caption"]) for row in first] == [
        (f"{number:05}", f"{width} wide") for number, width in enumerate(WIDTHS)
    ]


def test_pictures_in_a_table_are_captioned(send: Send, finish: Finish, folder: Path, settings: Settings) -> None:
    images = [{"bytes": (folder / "0.png").read_bytes(), "path": "a.png"}, {"bytes": b"x" * 10_001, "path": "b.png"}]
    parquet.write_table(pyarrow.table({"image": images}), folder / "m.parquet")
    batch_id = send("m.parquet")
    finish()

    first, large = results(settings, batch_id)
    assert (first["custom_id"], first["caption"]) == ("a.png", "40 wide")
    assert large["error"]["type"] == problems.UPLOAD_TOO_LARGE.type


@pytest.mark.parametrize(
    "name",
    ["../secret.png", "sub/../../secret.png", "/etc/hostname", "file:///etc/hostname", "s3://bucket/a.png",
     "https://example.com/a.png", "simplecache::file:///etc/hostname", "link.png", "linked/secret.png", "fifo.png"],
)  # fmt: skip
def test_nothing_outside_the_roots_is_read(
    name: str, send: Send, finish: Finish, folder: Path, settings: Settings
) -> None:
    secret = folder.parent / "secret.png"
    secret.write_bytes((folder / "0.png").read_bytes())
    (folder / "link.png").symlink_to(secret)
    (folder / "linked").symlink_to(folder.parent)
    os.mkfifo(folder / "fifo.png")
    (folder / "m.jsonl").write_text(json.dumps({"url": name}), encoding="utf-8")
    batch_id = send("m.jsonl")
    finish()

    (row,) = results(settings, batch_id)
    assert row["error"]["type"] == problems.URL_NOT_ALLOWED.type


def test_a_manifest_that_is_a_link_is_refused(send: Send, finish: Finish, folder: Path, batches: Batches) -> None:
    (folder.parent / "outside.jsonl").write_text('"0.png"\n', encoding="utf-8")
    (folder / "m.jsonl").symlink_to(folder.parent / "outside.jsonl")
    batch_id = send("m.jsonl")
    finish()

    error = manifest_of(batches.get(batch_id)).error
    assert error and error.type == problems.URL_NOT_ALLOWED.type


@pytest.mark.parametrize("name", ["missing.jsonl", "missing/", "missing-{0..3}.tar"])
def test_a_missing_manifest_ends_its_batch_with_the_reason(
    name: str, send: Send, finish: Finish, batches: Batches
) -> None:
    batch_id = send(name)
    finish()

    batch = batches.get(batch_id)
    assert (batch.status, manifest_of(batch).status) == (BatchStatus.COMPLETED, ManifestStatus.FAILED)
    assert manifest_of(batch).error.type == problems.BAD_MANIFEST.type


def test_a_manifest_is_cut_on_by_another_worker(
    send: Send,
    runtime: WorkerRuntime,
    finish: Finish,
    manifest: str,
    settings: Settings,
    components: Components,
    clock: Clock,
) -> None:
    batch_id = send(manifest)
    killed = components.manifests.claim()
    assert killed
    span = {"file": killed.url, "start": 0, "end": 24}
    components.manifests.add_chunk(killed, 0, span, {"file": killed.url, "start": 24})
    clock.advance(31)
    finish()

    assert [row["file_name"] for row in results(settings, batch_id)][:4] == [f"{number}.png" for number in range(4)]
    assert len(results(settings, batch_id)) == 6


def test_a_killed_worker_s_chunk_is_captioned_again_when_its_lease_ends(
    send: Send,
    runtime: WorkerRuntime,
    finish: Finish,
    manifest: str,
    settings: Settings,
    components: Components,
    batches: Batches,
    clock: Clock,
) -> None:
    batch_id = send(manifest)
    runtime.cut()
    for _ in range(2):
        assert components.chunks.claim()
    runtime.caption_chunks()
    before = results(settings, batch_id)
    clock.advance(31)
    finish()

    assert before == []
    assert len(results(settings, batch_id)) == 6
    assert manifest_of(batches.get(batch_id)).pictures.captioned == 4


def test_a_chunk_that_kills_three_workers_fails_and_the_rest_goes_on(
    send: Send,
    runtime: WorkerRuntime,
    finish: Finish,
    manifest: str,
    settings: Settings,
    components: Components,
    batches: Batches,
    clock: Clock,
) -> None:
    batch_id = send(manifest)
    runtime.cut()
    for _ in range(3):
        claim = components.chunks.claim()
        assert claim and claim.shard == "part-00000.jsonl"
        clock.advance(31)
    finish()

    batch = batches.get(batch_id)
    assert batch.status is BatchStatus.COMPLETED
    assert manifest_of(batch).chunks.model_dump() == {"total": 2, "done": 1, "failed": 1, "canceled": 0}
    failed, _ = components.chunks.shards(batch_id, manifest_of(batch).format, 0, 2)
    assert failed.error and failed.error.type == problems.WORKER_LOST.type
    assert "3 times" in failed.error.detail
    assert len(results(settings, batch_id)) == 3


def test_a_chunk_does_not_count_an_attempt_while_a_suspect_runs(
    send: Send, runtime: WorkerRuntime, manifest: str, components: Components, captioner: FakeCaptioner, clock: Clock
) -> None:
    send(manifest)
    runtime.cut()
    attempts = []

    def lose_worker_with_suspect() -> None:
        with runtime.claim_suspect():
            claim = runtime.chunk_worker._work
            assert claim
            attempts.append(components.ledger._redis.hget(f"chunk:{claim.claim.id}", "attempts"))
        attempts.append(components.ledger._redis.hget(f"chunk:{claim.claim.id}", "attempts"))

    captioner.on_caption = lambda: lose_worker_with_suspect() if not attempts else None
    with_timeout(runtime.caption_chunks)

    assert attempts == ["0", "1"]


def test_no_picture_of_a_chunk_is_worked_on_beside_a_suspect(
    send: Send, runtime: WorkerRuntime, manifest: str, captioner: FakeCaptioner
) -> None:
    send(manifest)
    runtime.cut()
    with runtime.lock.exclusive():
        thread = with_background(runtime.caption_chunks)
        eventually(lambda: runtime.chunk_worker._work)
        assert captioner.calls == []
    thread()
    assert sum(captioner.calls) == 4


def with_background(action: Callable[[], None]) -> Callable[[], None]:
    """Start `action` in a thread; the result waits for its end."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(action)

    def join() -> None:
        future.result(30)
        pool.shutdown()

    return join


def test_a_chunk_survives_redis_being_away_when_its_captions_are_there(
    send: Send,
    runtime: WorkerRuntime,
    manifest: str,
    captioner: FakeCaptioner,
    server: fakeredis.FakeServer,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("worker.leased.WRITE_RETRY_DELAY", 0.01)
    batch_id = send(manifest)
    runtime.cut()
    gate, retried = Gate(captioner), threading.Event()
    until_redis_answers = ChunkWorker._until_redis_answers

    def announced(self: ChunkWorker, work: Any, write: Callable[[], object]) -> None:
        retried.set()
        until_redis_answers(self, work, write)

    monkeypatch.setattr(ChunkWorker, "_until_redis_answers", announced)
    thread = with_background(runtime.caption_chunks)
    gate.wait_for_call()
    server.connected = False
    gate.open()
    assert retried.wait(30)
    server.connected = True
    thread()

    assert len(results(settings, batch_id)) == 6
    assert sum(captioner.calls) == 4  # no picture twice


@pytest.mark.parametrize("step", ["read", "write"])
def test_a_store_that_is_away_postpones_the_chunk_without_losing_an_attempt(
    step: str,
    send: Send,
    runtime: WorkerRuntime,
    finish: Finish,
    manifest: str,
    folder: Path,
    settings: Settings,
    clock: Clock,
    components: Components,
) -> None:
    batch_id = send(manifest)
    runtime.cut()
    away = folder if step == "read" else settings.data / "results"
    for _ in range(4):
        away.rename(folder.parent / "away")
        runtime.caption_chunks()
        (folder.parent / "away").rename(away)
        clock.advance(RETRY_DELAY)
    stored = components.ledger._redis.hget(f"chunk:{batch_id}/0", "attempts")
    finish()

    assert stored == "0"
    assert len(results(settings, batch_id)) == 6


def test_a_model_that_cannot_be_loaded_postpones_the_chunk_without_losing_an_attempt(
    send: Send,
    runtime: WorkerRuntime,
    finish: Finish,
    manifest: str,
    settings: Settings,
    captioner: FakeCaptioner,
    clock: Clock,
    components: Components,
) -> None:
    def cannot_be_loaded() -> None:
        raise ModelUnavailable(Message("The model cannot be loaded."))

    batch_id = send(manifest)
    runtime.cut()
    captioner.on_prepare = cannot_be_loaded
    for _ in range(4):
        runtime.caption_chunks()
        clock.advance(RETRY_DELAY)
    stored = components.ledger._redis.hget(f"chunk:{batch_id}/0", "attempts")
    captioner.on_prepare = lambda: None
    finish()

    assert stored == "0"
    assert [row["status"] for row in results(settings, batch_id)].count("succeeded") == 4


def test_a_store_that_is_away_postpones_the_cutting(
    send: Send, runtime: WorkerRuntime, finish: Finish, manifest: str, folder: Path, settings: Settings, clock: Clock
) -> None:
    batch_id = send(manifest)
    folder.rename(folder.parent / "away")
    runtime.cut()
    (folder.parent / "away").rename(folder)
    clock.advance(RETRY_DELAY)
    finish()

    assert len(results(settings, batch_id)) == 6


def test_a_picture_that_the_store_never_reads_costs_itself_only(
    send: Send, finish: Finish, manifest: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    read = LocalFileSystem.cat_file

    def refuse_one(self: LocalFileSystem, path: str, **options: Any) -> bytes:
        if path.endswith("2.png"):
            raise PermissionError("the key of its encryption is gone")
        return bytes(read(self, path, **options))

    monkeypatch.setattr(LocalFileSystem, "cat_file", refuse_one)
    batch_id = send(manifest)
    finish()

    rows = results(settings, batch_id)
    assert [row["status"] for row in rows[:4]] == ["succeeded", "succeeded", "failed", "succeeded"]
    assert rows[2]["error"]["type"] == problems.FILE_UNREADABLE.type


def test_a_model_that_fails_on_a_picture_costs_that_picture_only(
    send: Send, finish: Finish, manifest: str, settings: Settings, captioner: FakeCaptioner
) -> None:
    def fail() -> None:
        if captioner.calls[-1] > 1 or captioner.calls.count(1) == 1:  # so the first picture that is alone fails
            raise ValueError("a bug")

    captioner.on_caption = fail
    batch_id = send(manifest)
    finish()

    rows = results(settings, batch_id)
    assert sum(row["status"] == "succeeded" for row in rows) == 3
    assert problems.INTERNAL.type in {row["error"]["type"] for row in rows if row["error"]}


def test_a_worker_that_shuts_down_returns_its_chunk(
    send: Send, runtime: WorkerRuntime, manifest: str, captioner: FakeCaptioner, components: Components
) -> None:
    batch_id = send(manifest)
    runtime.cut()
    gate = Gate(captioner)
    thread = with_background(runtime.caption_chunks)
    gate.wait_for_call()
    runtime.stopping.set()
    gate.open()
    thread()

    claim = components.chunks.claim()
    assert claim and (claim.id, claim.attempts) == (f"{batch_id}/0", 1)


def test_a_canceled_batch_stops_its_chunk_and_writes_no_results(
    send: Send,
    runtime: WorkerRuntime,
    manifest: str,
    captioner: FakeCaptioner,
    batches: Batches,
    settings: Settings,
) -> None:
    batch_id = send(manifest)
    runtime.cut()
    gate = Gate(captioner)
    thread = with_background(runtime.caption_chunks)
    gate.wait_for_call()
    batches.cancel(batch_id)
    runtime.extend()
    gate.open()
    thread()

    assert batches.get(batch_id).status is BatchStatus.CANCELED
    assert results(settings, batch_id) == []


def test_a_suspended_worker_writes_nothing_after_its_lease(
    send: Send,
    runtime: WorkerRuntime,
    manifest: str,
    captioner: FakeCaptioner,
    settings: Settings,
    components: Components,
    clock: Clock,
) -> None:
    batch_id = send(manifest)
    runtime.cut()
    gate = Gate(captioner)
    thread = with_background(runtime.caption_chunks)
    gate.wait_for_call()
    clock.advance(31)
    successor = components.chunks.claim()
    gate.open()
    thread()

    assert successor and successor.shard == "part-00000.jsonl"
    assert not (settings.data / "results" / batch_id / "part-00000.jsonl").exists()


def test_an_interactive_job_overtakes_the_pictures_of_a_chunk(
    send: Send,
    runtime: WorkerRuntime,
    manifest: str,
    captioner: FakeCaptioner,
    create_job: Callable[..., Job],
    run_task: Callable[..., None],
    ledger: Ledger,
) -> None:
    send(manifest)
    runtime.cut()
    gate = Gate(captioner)
    thread = with_background(runtime.caption_chunks)
    gate.wait_for_call()
    job = create_job()
    task = with_background(run_task)
    eventually(lambda: runtime.batcher._interactive)
    gate.open()
    task()
    thread()

    assert ledger.get(job.id).status is Status.SUCCEEDED
    assert captioner.calls[1] == 1  # of the job alone


def test_pictures_in_flight_are_bounded(
    send: Send, runtime: WorkerRuntime, folder: Path, captioner: FakeCaptioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.manifests.cutter.CHUNK_SIZE", 100)
    (folder / "m.jsonl").write_text('"0.png"\n' * 100, encoding="utf-8")
    send("m.jsonl")
    runtime.cut()
    gate, read = Gate(captioner), list[str]()
    rows = ChunkWorker._rows

    def counted(self: ChunkWorker, claim: Any) -> Any:
        for row in rows(self, claim):
            read.append(row.name or "")
            yield row

    monkeypatch.setattr(ChunkWorker, "_rows", counted)
    thread = with_background(runtime.caption_chunks)
    gate.wait_for_call()
    in_flight = len(read)
    gate.open()
    thread()

    assert in_flight <= 6 and len(read) == 100


def test_redis_holds_nothing_of_each_picture(
    send: Send, finish: Finish, folder: Path, redis: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("worker.manifests.cutter.CHUNK_SIZE", 100)
    (folder / "m.jsonl").write_text('"0.png"\n' * 100, encoding="utf-8")
    batch_id = send("m.jsonl")
    finish()

    assert [key for key in redis.scan_iter() if batch_id in key and "/" in key] == [f"chunk:{batch_id}/0"]
    assert not [key for key in redis.scan_iter() if key.startswith(("job:", "caption:"))]


def test_a_compressed_tar_file_is_refused(send: Send, finish: Finish, folder: Path, batches: Batches) -> None:
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w:gz") as tar:
        tar.add(folder / "0.png", "0.png")
    (folder / "compressed.tar").write_bytes(data.getvalue())
    batch_id = send("compressed.tar")
    finish()

    assert manifest_of(batches.get(batch_id)).error.type == problems.BAD_MANIFEST.type
