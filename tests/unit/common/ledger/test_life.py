"""The ledger's promise: captioned at least once, written exactly once, nothing lost."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis

from common import problems
from common.jobs import Output, Status, new_id
from common.ledger import Components, Ledger, NewJob, Worker
from common.problems import Problem
from tests.support.claims import claim_job
from tests.support.clock import Clock
from tests.unit.common.ledger.jobs import CAPTION, MODEL, PICTURE, TIMINGS, claimed, recover, wait_in


class TestCreate:
    def test_a_new_job_waits_and_says_what_was_uploaded(self, ledger: Ledger) -> None:
        job = ledger.get(wait_in(ledger).id)

        assert (job.status, job.input, job.attempts) == (Status.QUEUED, PICTURE, 0)
        assert job.expires_at.timestamp() - job.created_at.timestamp() == 1000

    def test_a_job_answered_from_the_cache_is_done_at_once(self, ledger: Ledger) -> None:
        job = ledger.get(wait_in(ledger, cached=(MODEL, CAPTION)).id)

        assert (job.status, job.cached, job.output) == (Status.SUCCEEDED, True, CAPTION)
        assert claim_job(ledger, job.id) is None

    def test_the_same_idempotency_key_and_picture_give_the_same_job(self, ledger: Ledger) -> None:
        first = wait_in(ledger, idempotency_key="k")
        second = wait_in(ledger, idempotency_key="k")

        assert second.id == first.id
        assert ledger.counts()[Status.QUEUED] == 1
        remembered = ledger.remembered("k", PICTURE)
        assert remembered and remembered.id == first.id

    def test_the_same_idempotency_key_with_another_picture_is_refused(self, ledger: Ledger) -> None:
        wait_in(ledger, idempotency_key="k")

        with pytest.raises(Problem) as refused:
            ledger.create(new_id(), NewJob(input=PICTURE.model_copy(update={"sha256": "e1"}), idempotency_key="k"))
        assert refused.value.kind is problems.IDEMPOTENCY_CONFLICT

    def test_a_job_that_is_recorded_twice_is_once_in_its_batch(self, ledger: Ledger, redis: Redis) -> None:
        """As redis-py does when the first answer does not come in time."""
        job_id, batch = new_id(), new_id()
        for _ in range(2):
            ledger.create(job_id, NewJob(input=PICTURE, batch=batch))

        assert redis.zrange(f"index:all#{batch}", 0, -1) == [job_id]

    def test_a_full_queue_admits_no_more(self, ledger: Ledger) -> None:
        for _ in range(3):
            wait_in(ledger)
        ledger.admit(1)

        with pytest.raises(Problem) as refused:
            ledger.admit(2)
        assert refused.value.kind is problems.QUEUE_FULL


class TestGet:
    def test_an_unknown_id_is_not_found_and_a_deleted_one_is_gone(self, ledger: Ledger) -> None:
        job = wait_in(ledger)
        ledger.delete(job.id)

        with pytest.raises(Problem) as gone:
            ledger.get(job.id)
        with pytest.raises(Problem) as unknown:
            ledger.get(new_id())
        assert (gone.value.kind, unknown.value.kind) == (problems.JOB_GONE, problems.JOB_NOT_FOUND)

    def test_progress_counts_the_pictures_before_this_one(self, ledger: Ledger) -> None:
        jobs = [wait_in(ledger) for _ in range(3)]

        positions = [ledger.get(job.id).progress for job in jobs]

        assert [progress and progress.position for progress in positions] == [0, 1, 2]

    def test_the_estimate_follows_the_speed_the_workers_announce(self, ledger: Ledger, components: Components) -> None:
        components.workers.announce(Worker(name="w", model=MODEL, pictures_per_second=0.5))
        wait_in(ledger)

        progress = ledger.get(wait_in(ledger).id).progress

        assert progress and progress.eta_seconds == 4.0

    def test_recent_jobs_come_newest_first_in_pages(self, ledger: Ledger) -> None:
        ids = [wait_in(ledger).id for _ in range(5)]

        first, cursor = ledger.recent(limit=3)
        rest, end = ledger.recent(limit=3, cursor=cursor)

        assert [job.id for job in first + rest] == ids[::-1]
        assert end is None

    def test_recent_jobs_can_be_those_in_one_state(self, ledger: Ledger) -> None:
        first, second = wait_in(ledger), wait_in(ledger)
        ledger.cancel(first.id)

        jobs, _ = ledger.recent(status=Status.QUEUED)

        assert [job.id for job in jobs] == [second.id]


class TestClaim:
    def test_a_claimed_job_is_not_claimed_twice(self, ledger: Ledger) -> None:
        job = wait_in(ledger)

        assert claimed(ledger, job).job.attempts == 1
        assert claim_job(ledger, job.id) is None

    def test_of_many_workers_at_once_exactly_one_gets_the_job(self, ledger: Ledger) -> None:
        job = wait_in(ledger)

        with ThreadPoolExecutor(8) as pool:
            claims = list(pool.map(ledger.claim_next, [1] * 16))

        assert [claim.id for claimed in claims for claim in claimed.claims] == [job.id]


class TestCommit:
    def test_the_caption_is_written_with_model_and_timings(self, ledger: Ledger) -> None:
        claim = claimed(ledger, wait_in(ledger))

        assert ledger.commit(claim, CAPTION, model=MODEL, timings=TIMINGS)

        job = ledger.get(claim.id)
        assert (job.status, job.output, job.model, job.timings) == (
            Status.SUCCEEDED,
            CAPTION,
            MODEL,
            TIMINGS,
        )

    def test_a_second_commit_is_refused(self, ledger: Ledger) -> None:
        claim = claimed(ledger, wait_in(ledger))
        ledger.commit(claim, CAPTION, model=MODEL, timings=TIMINGS)

        assert not ledger.commit(claim, Output(caption="late"), model=MODEL, timings=TIMINGS)
        assert ledger.get(claim.id).output == CAPTION

    def test_a_worker_that_lost_its_lease_cannot_write_over_its_successor(
        self, ledger: Ledger, redis: Redis, clock: Clock
    ) -> None:
        paused = claimed(ledger, wait_in(ledger))
        clock.advance(31)
        recover(ledger, redis)
        successor = claimed(ledger, paused.job)

        assert not ledger.commit(paused, Output(caption="late"), model=MODEL, timings=TIMINGS)
        assert ledger.commit(successor, CAPTION, model=MODEL, timings=TIMINGS)
        assert ledger.get(paused.id).output == CAPTION

    def test_a_committed_caption_is_found_for_the_same_picture_and_model_only(self, ledger: Ledger) -> None:
        claim = claimed(ledger, wait_in(ledger))
        ledger.commit(claim, CAPTION, model=MODEL, timings=TIMINGS)

        assert ledger.cached("d0", "sha256:1") == CAPTION
        assert ledger.cached("d0", "sha256:2") is None

    def test_a_failure_keeps_the_problem(self, ledger: Ledger) -> None:
        claim = claimed(ledger, wait_in(ledger))

        assert ledger.fail(claim, problems.DAMAGED_IMAGE("It is cut off."))

        job = ledger.get(claim.id)
        assert job.status is Status.FAILED
        assert job.error and job.error.type == "/problems/damaged-image"


class TestCancel:
    def test_a_waiting_job_is_canceled_and_never_claimed(self, ledger: Ledger) -> None:
        job = wait_in(ledger)

        assert ledger.cancel(job.id).status is Status.CANCELED
        assert claim_job(ledger, job.id) is None

    def test_the_caption_of_a_job_canceled_meanwhile_is_not_written(self, ledger: Ledger) -> None:
        claim = claimed(ledger, wait_in(ledger))
        ledger.cancel(claim.id)

        assert not ledger.commit(claim, CAPTION, model=MODEL, timings=TIMINGS)
        assert ledger.get(claim.id).output is None

    def test_a_finished_job_stays_as_it_is(self, ledger: Ledger) -> None:
        claim = claimed(ledger, wait_in(ledger))
        ledger.commit(claim, CAPTION, model=MODEL, timings=TIMINGS)

        assert ledger.cancel(claim.id).status is Status.SUCCEEDED


class TestDelete:
    def test_nothing_but_the_mark_of_the_id_is_left(self, ledger: Ledger, redis: Redis) -> None:
        claim = claimed(ledger, wait_in(ledger))
        ledger.commit(claim, CAPTION, model=MODEL, timings=TIMINGS)

        ledger.delete(claim.id)

        assert redis.keys() == [f"known:{claim.id}"]

    def test_a_job_deleted_while_it_is_captioned_stays_deleted(self, ledger: Ledger, redis: Redis) -> None:
        claim = claimed(ledger, wait_in(ledger))
        ledger.delete(claim.id)

        assert not ledger.commit(claim, CAPTION, model=MODEL, timings=TIMINGS)
        assert redis.keys() == [f"known:{claim.id}"]

    def test_the_idempotency_key_is_free_again_and_a_later_job_keeps_it(self, ledger: Ledger, redis: Redis) -> None:
        first = wait_in(ledger, idempotency_key="k")
        ledger.delete(first.id)
        left = redis.keys()
        second = wait_in(ledger, idempotency_key="k")
        ledger.delete(first.id)

        assert left == [f"known:{first.id}"]
        assert second.id != first.id
        assert wait_in(ledger, idempotency_key="k").id == second.id

    def test_a_batch_forgets_the_job(self, ledger: Ledger, redis: Redis) -> None:
        job = wait_in(ledger, batch=new_id())
        ledger.delete(job.id)

        assert redis.keys() == [f"known:{job.id}"]
