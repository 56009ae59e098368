"""Batches: states, counts, items, retry and deletion."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis

from common import problems
from common.jobs import BatchStatus, Status, new_id
from common.ledger import Batches, Components, Ledger, NewBatch, NewJob
from common.ledger import batches as module
from common.problems import Problem
from tests.support.claims import commit, commit_failure
from tests.unit.common.ledger.jobs import CAPTION, IMAGE, MODEL, TIMINGS, create_job, must_claim, recover

BATCH = new_id()


class TestBatches:
    @pytest.fixture
    def batches(self, components: Components) -> Batches:
        return components.batches

    def test_request_counts_follow_the_jobs(self, ledger: Ledger, batches: Batches) -> None:
        batches.create(batch := new_id())
        first = create_job(ledger, batch=batch, custom_id="one")
        create_job(ledger, batch=batch)
        ledger.create(new_id(), NewJob(error=problems.EMPTY_UPLOAD("It is empty."), batch=batch))
        commit(ledger, must_claim(ledger, first), CAPTION, model=MODEL, timings=TIMINGS)

        counts = batches.get(batch).request_counts

        assert counts.model_dump() == {
            "total": 3,
            "queued": 1,
            "processing": 0,
            "succeeded": 1,
            "failed": 1,
            "canceled": 0,
        }

    def test_canceling_a_batch_keeps_its_ended_jobs(self, ledger: Ledger, batches: Batches) -> None:
        batches.create(batch := new_id())
        done = create_job(ledger, batch=batch)
        commit(ledger, must_claim(ledger, done), CAPTION, model=MODEL, timings=TIMINGS)
        create_job(ledger, batch=batch)

        counts = batches.cancel(batch).request_counts

        assert (counts.succeeded, counts.canceled) == (1, 1)

    def test_all_pages_of_a_batch_are_read_and_canceled(
        self, ledger: Ledger, batches: Batches, redis: Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "PAGE_SIZE", 3)
        batches.create(batch := new_id())
        jobs = [create_job(ledger, batch=batch).id for _ in range(8)]

        read = [job.id for job in batches.jobs(batch)]
        counts = batches.cancel(batch).request_counts

        assert read == jobs
        assert counts.canceled == counts.total == 8
        assert redis.keys("queue:*") == redis.keys("turns:*") == []

    def test_a_repeated_creation_of_a_batch_does_not_open_it_again(self, batches: Batches) -> None:
        """redis-py repeats the script after a timeout."""
        for _ in range(2):
            batches.create(batch := BATCH)
            batches.seal(batch)

        assert batches.get(batch).status is BatchStatus.COMPLETED

    def test_the_status_follows_the_seal_and_the_jobs(self, ledger: Ledger, batches: Batches) -> None:
        batches.create(batch := new_id())
        statuses = [batches.get(batch).status]
        job = create_job(ledger, batch=batch)
        statuses.append(batches.get(batch).status)
        batches.seal(batch)
        statuses.append(batches.get(batch).status)
        commit(ledger, must_claim(ledger, job), CAPTION, model=MODEL, timings=TIMINGS)
        statuses.append(batches.get(batch).status)
        batches.cancel(batch)  # no effect on a batch that has ended
        statuses.append(batches.get(batch).status)

        assert statuses == ["open", "open", "in_progress", "completed", "completed"]

    def test_a_batch_of_the_earlier_version_is_not_open(self, batches: Batches, redis: Redis) -> None:
        batches.create(batch := new_id())
        redis.hdel(f"batch:{batch}", "sealed")

        assert batches.get(batch).status is BatchStatus.COMPLETED

    @pytest.mark.parametrize("closed", ["sealed", "deleted", "unknown"])
    def test_a_closed_batch_takes_no_jobs(self, ledger: Ledger, batches: Batches, redis: Redis, closed: str) -> None:
        batch = new_id()
        if closed != "unknown":
            batches.create(batch)
            batches.seal(batch)
        if closed == "deleted":
            batches.delete(batch)
        before = set(redis.keys())

        with pytest.raises(Problem) as refused:
            ledger.create(new_id(), NewJob(input=IMAGE, batch=batch, custom_id="a", idempotency_key="a"))

        kinds = {"sealed": problems.BATCH_SEALED, "deleted": problems.BATCH_GONE, "unknown": problems.BATCH_NOT_FOUND}
        assert refused.value.kind is kinds[closed]
        assert set(redis.keys()) == before

    def test_a_repeated_creation_after_the_seal_is_the_same_job(self, ledger: Ledger, batches: Batches) -> None:
        """The reply of the first request was lost, and another client sealed the batch meanwhile."""
        batches.create(batch := new_id())
        job_id, new_job = new_id(), NewJob(input=IMAGE, batch=batch, idempotency_key="a")
        first = ledger.create(job_id, new_job)
        batches.seal(batch)

        assert ledger.create(job_id, new_job) == first
        assert ledger.create(new_id(), new_job).id == job_id

    def test_concurrent_items_with_a_custom_id_create_one_job(self, ledger: Ledger, batches: Batches) -> None:
        batches.create(batch := new_id())

        def create(number: int) -> str:
            return create_job(ledger, batch=batch, idempotency_key=str(number % 3)).id

        with ThreadPoolExecutor(8) as pool:
            ids = list(pool.map(create, range(24)))

        assert len(set(ids)) == batches.get(batch).request_counts.total == 3

    def test_a_deleted_item_frees_its_custom_id(self, ledger: Ledger, batches: Batches) -> None:
        batches.create(batch := new_id())
        first = create_job(ledger, batch=batch, idempotency_key="a")
        ledger.delete(first.id)

        assert create_job(ledger, batch=batch, idempotency_key="a").id != first.id

    def test_a_retry_queues_failed_and_canceled_jobs_with_an_image(
        self, ledger: Ledger, batches: Batches, components: Components
    ) -> None:
        batches.create(batch := new_id())
        failed, lost, canceled, done = (create_job(ledger, batch=batch) for _ in range(4))
        refused = ledger.create(new_id(), NewJob(error=problems.EMPTY_UPLOAD("It is empty."), batch=batch))
        commit_failure(ledger, must_claim(ledger, failed), problems.CAPTION_FAILED("No caption."))
        commit_failure(ledger, must_claim(ledger, lost), problems.UPLOAD_LOST("No file."))
        commit(ledger, must_claim(ledger, done), CAPTION, model=MODEL, timings=TIMINGS)
        batches.seal(batch)
        batches.cancel(batch)

        retried, number = batches.retry(batch)

        assert (retried.status, retried.canceled_reason, number) == (BatchStatus.IN_PROGRESS, None, 2)
        again = ledger.get(failed.id)
        assert (again.status, again.error, again.attempts, again.completed_at) == (Status.QUEUED, None, 0, None)
        assert [ledger.get(job.id).status for job in (lost, refused, done)] == ["failed", "failed", "succeeded"]
        assert {claim.id for claim in ledger.claim_next(9).claims} == {failed.id, canceled.id}

    def test_a_retry_respects_the_limit_of_open_jobs(
        self, ledger: Ledger, batches: Batches, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "PAGE_SIZE", 2)
        batches.create(batch := new_id())
        for _ in range(6):  # four may be open
            ledger.cancel(create_job(ledger, batch=batch).id)

        with pytest.raises(Problem) as refused:
            batches.retry(batch)

        assert refused.value.kind is problems.QUEUE_FULL
        assert batches.get(batch).request_counts.queued == 4

    def test_deleting_a_batch_leaves_jobs_only_for_the_recovery(
        self, ledger: Ledger, batches: Batches, redis: Redis, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "PAGE_SIZE", 2)
        batches.create(batch := new_id(), NewBatch(cancel_after=5, webhook="https://receiver.example/"))
        jobs = [create_job(ledger, batch=batch, idempotency_key=str(number)).id for number in range(5)]
        claim = must_claim(ledger, ledger.get(jobs[0]))

        first = batches.delete(batch)
        expired = recover(ledger, redis).expired
        for job_id in expired:
            ledger.delete(job_id)

        assert (first, sorted(expired)) == (jobs[:2], jobs)
        assert not commit(ledger, claim, CAPTION, model=MODEL, timings=TIMINGS)
        redis.delete("recovering")
        assert set(redis.keys()) == {"metrics", "schema", "turn", *(f"known:{any_id}" for any_id in (batch, *jobs))}

    def test_an_unknown_batch_is_not_found_and_an_expired_batch_is_gone(self, batches: Batches) -> None:
        batches.create(batch := new_id())
        batches.remove(batch)

        with pytest.raises(Problem) as gone:
            batches.get(batch)
        with pytest.raises(Problem) as unknown:
            batches.get(new_id())
        assert (gone.value.kind, unknown.value.kind) == (problems.BATCH_GONE, problems.BATCH_NOT_FOUND)
