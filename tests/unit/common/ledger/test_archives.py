"""Archives: leased to one worker at a time, and ended only by the worker with the valid claim."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from common import problems
from common.jobs import ArchiveStatus, BatchStatus, new_id
from common.ledger import ArchiveClaim, Archives, Batches, Components, NewBatch
from tests.support.clock import Clock

URL = "https://receiver.example/hook"


@pytest.fixture
def archives(components: Components) -> Archives:
    return components.archives


@pytest.fixture
def batches(components: Components) -> Batches:
    return components.batches


@pytest.fixture
def batch(batches: Batches) -> str:
    """A batch with an archive that waits."""
    batches.create(batch := new_id(), NewBatch(archive="a.zip", archive_bytes=7, webhook=URL, prefix="/captions"))
    return batch


def must_claim(archives: Archives) -> ArchiveClaim:
    claim = archives.claim()
    assert claim is not None
    return claim


def test_a_claim_has_the_fields_of_the_batch(archives: Archives, batch: str) -> None:
    claim = must_claim(archives)

    assert (claim.id, claim.owner, claim.bytes, claim.webhook, claim.prefix) == (batch, None, 7, URL, "/captions")
    assert (claim.resumed, claim.attempts) == (False, 1)


def test_the_archive_that_waited_longest_is_claimed_first(archives: Archives, batches: Batches, clock: Clock) -> None:
    ids = [new_id() for _ in range(3)]
    for batch_id in reversed(ids):
        batches.create(batch_id, NewBatch(archive="a.zip", archive_bytes=7))
        clock.advance(1)

    assert [must_claim(archives).id for _ in ids] == ids[::-1]
    assert archives.claim() is None


def test_concurrent_claims_give_an_archive_to_one_worker(archives: Archives, batch: str) -> None:
    with ThreadPoolExecutor(8) as pool:
        claims = list(pool.map(lambda _: archives.claim(), range(16)))

    assert [claim.id for claim in claims if claim] == [batch]


def test_a_lost_lease_fences_its_worker_off(archives: Archives, batches: Batches, batch: str, clock: Clock) -> None:
    paused = must_claim(archives)
    clock.advance(20)
    assert archives.extend(paused)
    clock.advance(20)
    assert archives.claim() is None
    clock.advance(11)
    successor = must_claim(archives)

    assert (successor.resumed, successor.attempts) == (True, 2)
    assert not archives.extend(paused, attempts=0)
    assert not archives.finish(paused, problems.BAD_ARCHIVE("It is no archive."))
    assert archives.finish(successor)
    assert not archives.finish(successor)  # ended before
    archive = batches.get(batch).archive
    assert archive and (archive.status, archive.error) == (ArchiveStatus.DONE, None)


def test_the_end_of_an_archive_seals_its_batch_and_makes_its_webhook_due(
    archives: Archives, batches: Batches, batch: str, components: Components
) -> None:
    claim = must_claim(archives)
    before = components.outbox.claim()
    archives.finish(claim, problems.BAD_ARCHIVE("It is no archive."))

    ended, delivery = batches.get(batch), components.outbox.claim()
    assert before is None
    assert delivery and (delivery.id, delivery.type) == (batch, "batch.completed")
    assert ended.status is BatchStatus.COMPLETED
    assert ended.archive and ended.archive.error and ended.archive.error.detail == "It is no archive."


def test_a_released_archive_is_claimed_again_without_counting_the_attempt(
    archives: Archives, batch: str, clock: Clock
) -> None:
    archives.release(must_claim(archives), delay=5)
    before = archives.claim()
    clock.advance(5)

    assert before is None
    assert must_claim(archives).attempts == 1
