"""Chunks of manifests are captioned once each, whichever worker is killed and whatever fails."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fakeredis
import pytest
from fsspec.implementations.local import LocalFileSystem

from captioning.captioner import ModelUnavailable
from common import problems
from common.jobs import BatchStatus, Job, Status
from common.ledger import Batches, Components, Ledger
from common.settings import Settings
from common.translation import Message
from tests.support.clock import Clock
from tests.unit.worker.fakes import FakeCaptioner, Gate, eventually, with_timeout
from tests.unit.worker.manifests.conftest import Finish, Send, manifest_of, results
from worker.leased import RETRY_DELAY
from worker.manifests.chunk_worker import ChunkWorker
from worker.runtime import WorkerRuntime


def with_background(action: Callable[[], None]) -> Callable[[], None]:
    """Start `action` in a thread; the result waits for its end."""
    pool = ThreadPoolExecutor(1)
    future = pool.submit(action)

    def join() -> None:
        future.result(30)
        pool.shutdown()

    return join


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
