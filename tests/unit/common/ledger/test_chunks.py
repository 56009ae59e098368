"""Manifests and their chunks: cut and captioned by one worker at a time, and counted in the batch."""

from __future__ import annotations

import pytest
from redis import Redis

from common import problems
from common.jobs import BatchStatus, new_id
from common.ledger import (
    CANCELED_BY_DEADLINE,
    Batches,
    ChunkClaim,
    Chunks,
    Components,
    ManifestClaim,
    Manifests,
    NewBatch,
    NewManifest,
)
from common.manifest_records import ManifestStatus, ResultFormat, ShardStatus
from common.options import CaptionOptions
from tests.support.clock import Clock

URL = "https://receiver.example/hook"
MANIFEST = NewManifest("s3://pictures/all.jsonl", "s3://results/all")


@pytest.fixture
def manifests(components: Components) -> Manifests:
    return components.manifests


@pytest.fixture
def chunks(components: Components) -> Chunks:
    return components.chunks


@pytest.fixture
def batches(components: Components) -> Batches:
    return components.batches


def create(batches: Batches, **more: object) -> str:
    """A batch with a manifest that waits."""
    batches.create(batch := new_id(), NewBatch(manifest=MANIFEST, webhook=URL, **more))  # type: ignore[arg-type]
    return batch


def cut(manifests: Manifests, count: int, *, to_its_end: bool = True) -> ManifestClaim:
    """Cut the manifest that waits into `count` chunks of ten rows."""
    claim = must_claim(manifests)
    for number in range(claim.chunks, count):
        assert manifests.add_chunk(claim, number, {"start": 10 * number}, {"next": 10 * number + 10})
    if to_its_end:
        assert manifests.finish(claim)
    return claim


def must_claim(manifests: Manifests) -> ManifestClaim:
    claim = manifests.claim()
    assert claim is not None
    return claim


def must_claim_chunk(chunks: Chunks) -> ChunkClaim:
    claim = chunks.claim()
    assert claim is not None
    return claim


def test_a_manifest_is_cut_by_one_worker_and_continued_by_its_successor(
    manifests: Manifests, batches: Batches, clock: Clock
) -> None:
    batch = create(batches)
    killed = cut(manifests, 2, to_its_end=False)
    assert manifests.claim() is None
    clock.advance(31)
    successor = must_claim(manifests)

    assert (killed.chunks, killed.position) == (0, None)
    assert (successor.chunks, successor.position, successor.attempts) == (2, {"next": 20}, 2)
    assert not manifests.add_chunk(killed, 2, {}, {})
    assert manifests.add_chunk(successor, 1, {}, {})  # as redis-py repeats it after a timeout
    assert manifests.finish(successor)
    manifest = batches.get(batch).manifest
    assert manifest and (manifest.status, manifest.chunks.total) == (ManifestStatus.DONE, 2)


def test_a_chunk_has_the_fields_of_its_batch(manifests: Manifests, chunks: Chunks, batches: Batches) -> None:
    batch = create(batches, options=CaptionOptions(beams=2))
    cut(manifests, 1)

    claim = must_claim_chunk(chunks)

    assert (claim.id, claim.shard, claim.span) == (f"{batch}/0", "part-00000.jsonl", {"start": 0})
    assert (claim.url, claim.output, claim.format) == (MANIFEST.url, MANIFEST.output, ResultFormat.JSONL)
    assert claim.options == CaptionOptions(beams=2)


def test_a_chunk_and_its_pictures_are_counted_once_when_it_ends(
    components: Components, manifests: Manifests, chunks: Chunks, batches: Batches
) -> None:
    create(batches)
    cut(manifests, 3)
    done, failed = must_claim_chunk(chunks), must_claim_chunk(chunks)
    assert chunks.finish(done, captioned=8, failed=2)
    assert not chunks.finish(done, captioned=8, failed=2)
    assert chunks.fail(failed, problems.WORKER_LOST("It was lost."))

    state = components.metrics.read()

    counted = {"chunk:done": 1, "chunk:failed": 1, "picture:captioned": 8, "picture:failed": 2}
    assert {name: count for name, count in state.counters.items() if name in counted} == counted
    assert state.chunks == {"": 1}


def test_batches_take_turns_with_their_chunks(manifests: Manifests, chunks: Chunks, batches: Batches) -> None:
    early = create(batches)
    cut(manifests, 4)
    claimed = [must_claim_chunk(chunks).id for _ in range(2)]
    late = create(batches)
    cut(manifests, 2)
    claimed += [must_claim_chunk(chunks).id for _ in range(4)]

    assert claimed == [f"{early}/0", f"{early}/1", f"{early}/2", f"{late}/0", f"{early}/3", f"{late}/1"]


def test_a_lost_chunk_is_claimed_first_and_its_old_worker_is_fenced_off(
    manifests: Manifests, chunks: Chunks, batches: Batches, clock: Clock
) -> None:
    create(batches)
    cut(manifests, 3)
    paused = must_claim_chunk(chunks)
    clock.advance(31)
    successor = must_claim_chunk(chunks)

    assert (successor.id, successor.attempts) == (paused.id, 2)
    assert not chunks.extend(paused)
    assert not chunks.finish(paused, captioned=10, failed=0)
    assert chunks.finish(successor, captioned=10, failed=0)
    assert not chunks.finish(successor, captioned=10, failed=0)  # ended before


def test_a_released_chunk_keeps_its_attempts(
    manifests: Manifests, chunks: Chunks, batches: Batches, clock: Clock
) -> None:
    create(batches)
    cut(manifests, 1)
    chunks.release(must_claim_chunk(chunks), delay=5)
    before = chunks.claim()
    clock.advance(5)

    assert before is None
    assert must_claim_chunk(chunks).attempts == 1


def test_a_batch_ends_with_its_last_chunk_and_counts_chunks_and_pictures(
    manifests: Manifests, chunks: Chunks, batches: Batches, components: Components
) -> None:
    batch = create(batches)
    cut(manifests, 2)
    chunks.finish(must_claim_chunk(chunks), captioned=9, failed=1)
    before, delivered = batches.get(batch), components.outbox.claim()
    chunks.fail(must_claim_chunk(chunks), problems.WORKER_LOST("It stopped."))

    after, delivery = batches.get(batch), components.outbox.claim()
    assert (before.status, delivered) == (BatchStatus.IN_PROGRESS, None)
    assert after.status is BatchStatus.COMPLETED and after.manifest
    assert (after.manifest.chunks.done, after.manifest.chunks.failed) == (1, 1)
    assert (after.manifest.pictures.captioned, after.manifest.pictures.failed) == (9, 1)
    assert delivery and (delivery.id, delivery.type) == (batch, "batch.completed")
    shards = chunks.shards(batch, ResultFormat.JSONL, 0, 10)
    assert [(shard.name, shard.status) for shard in shards] == [
        ("part-00000.jsonl", ShardStatus.DONE),
        ("part-00001.jsonl", ShardStatus.FAILED),
    ]
    assert shards[1].error and shards[1].error.detail == "It stopped."


def test_a_batch_whose_chunks_end_while_its_manifest_is_cut_is_not_completed(
    manifests: Manifests, chunks: Chunks, batches: Batches, components: Components
) -> None:
    batch = create(batches)
    claim = cut(manifests, 1, to_its_end=False)
    chunks.finish(must_claim_chunk(chunks), captioned=10, failed=0)
    before = batches.get(batch).status
    manifests.finish(claim, problems.BAD_MANIFEST("It is cut off."))

    after, delivery = batches.get(batch), components.outbox.claim()
    assert (before, after.status) == (BatchStatus.IN_PROGRESS, BatchStatus.COMPLETED)
    assert after.manifest and after.manifest.error and after.manifest.error.detail == "It is cut off."
    assert delivery and delivery.id == batch


def test_canceling_stops_cutting_and_all_open_chunks(
    manifests: Manifests, chunks: Chunks, batches: Batches, components: Components, clock: Clock
) -> None:
    batch = create(batches)
    cutter = cut(manifests, 3, to_its_end=False)
    chunks.finish(must_claim_chunk(chunks), captioned=10, failed=0)
    worker = must_claim_chunk(chunks)
    canceled = batches.cancel(batch, CANCELED_BY_DEADLINE)
    delivery = components.outbox.claim()

    assert canceled.status is BatchStatus.CANCELED and canceled.manifest
    assert (canceled.manifest.chunks.done, canceled.manifest.chunks.canceled) == (1, 2)
    assert not manifests.extend(cutter) and not manifests.add_chunk(cutter, 3, {}, {})
    assert not chunks.extend(worker) and not chunks.finish(worker, captioned=10, failed=0)
    clock.advance(100)
    assert (manifests.claim(), chunks.claim()) == (None, None)
    assert delivery and delivery.id == batch


def test_a_retry_repeats_failed_and_canceled_chunks_and_cuts_the_rest(
    manifests: Manifests, chunks: Chunks, batches: Batches
) -> None:
    batch = create(batches)
    cut(manifests, 3, to_its_end=False)
    chunks.finish(must_claim_chunk(chunks), captioned=10, failed=0)
    chunks.fail(must_claim_chunk(chunks), problems.WORKER_LOST("It stopped."))
    batches.cancel(batch)
    retried, _ = batches.retry(batch)
    cut(manifests, 4)

    assert retried.status is BatchStatus.IN_PROGRESS
    claims = [must_claim_chunk(chunks) for _ in range(3)]
    assert [claim.shard for claim in claims] == [f"part-0000{number}.jsonl" for number in (1, 2, 3)]
    assert [claim.attempts for claim in claims] == [1, 1, 1]
    for claim in claims:
        chunks.finish(claim, captioned=10, failed=0)
    ended = batches.get(batch)
    assert ended.status is BatchStatus.COMPLETED and ended.manifest
    assert ended.manifest.chunks.model_dump() == {"total": 4, "done": 4, "failed": 0, "canceled": 0}
    assert ended.manifest.pictures.captioned == 40


def test_a_deleted_batch_leaves_nothing_of_its_chunks(
    manifests: Manifests, chunks: Chunks, batches: Batches, redis: Redis
) -> None:
    batch = create(batches)
    cut(manifests, 3)
    worker = must_claim_chunk(chunks)
    batches.delete(batch)

    assert not chunks.finish(worker, captioned=10, failed=0)
    assert [key for key in redis.scan_iter() if batch in key] == [f"known:{batch}"]
    assert redis.exists("chunks", "turns:chunks", "manifests") == 0


def test_a_batch_is_kept_for_the_retention_time_after_its_last_chunk(
    manifests: Manifests, chunks: Chunks, batches: Batches, components: Components, clock: Clock
) -> None:
    batch = create(batches)
    cut(manifests, 1)
    clock.advance(990)
    chunks.finish(must_claim_chunk(chunks), captioned=10, failed=0)
    clock.advance(990)

    assert components.ledger.recover().expired_batches == []
    assert batches.get(batch).expires_at.timestamp() == clock() + 10


def test_a_chunk_is_a_record_of_less_than_a_kilobyte(
    manifests: Manifests, chunks: Chunks, batches: Batches, redis: Redis
) -> None:
    batch = create(batches)
    cut(manifests, 1)
    chunks.finish(must_claim_chunk(chunks), captioned=990, failed=10)

    stored = redis.hgetall(f"chunk:{batch}/0")
    assert stored == {"span": '{"start":0}', "status": "done", "attempts": "1", "captioned": "990", "failed": "10"}


def test_a_batch_of_a_manifest_takes_no_items(batches: Batches) -> None:
    _, closed = batches.for_item(create(batches))

    assert closed and closed.kind is problems.BATCH_SEALED
