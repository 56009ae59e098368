"""Batch counts, reading and canceling."""

from __future__ import annotations

import pytest
from redis import Redis

from common import problems
from common.jobs import new_id
from common.ledger import Batches, Components, Ledger, NewJob
from common.ledger import batches as module
from common.problems import Problem
from tests.unit.common.ledger.jobs import CAPTION, MODEL, TIMINGS, create_job, must_claim


class TestBatches:
    @pytest.fixture
    def batches(self, components: Components) -> Batches:
        return components.batches

    def test_request_counts_follow_the_jobs(self, ledger: Ledger, batches: Batches) -> None:
        batches.create(batch := new_id())
        first = create_job(ledger, batch=batch, custom_id="one")
        create_job(ledger, batch=batch)
        ledger.create(new_id(), NewJob(error=problems.EMPTY_UPLOAD("It is empty."), batch=batch))
        ledger.commit(must_claim(ledger, first), CAPTION, model=MODEL, timings=TIMINGS)

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
        ledger.commit(must_claim(ledger, done), CAPTION, model=MODEL, timings=TIMINGS)
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

    def test_an_unknown_batch_is_not_found_and_an_expired_batch_is_gone(self, batches: Batches, redis: Redis) -> None:
        batches.create(batch := new_id())
        redis.delete(f"batch:{batch}")  # as its TTL does

        with pytest.raises(Problem) as gone:
            batches.get(batch)
        with pytest.raises(Problem) as unknown:
            batches.get(new_id())
        assert (gone.value.kind, unknown.value.kind) == (problems.BATCH_GONE, problems.BATCH_NOT_FOUND)
