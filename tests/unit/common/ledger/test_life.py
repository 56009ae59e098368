"""Job life cycle: each job is captioned at least once and its result is written exactly once."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from redis import Redis

from common import problems
from common.jobs import Alternative, Output, Status, new_id
from common.ledger import Components, Ledger, NewJob, Worker
from common.options import CaptionOptions
from common.problems import Problem
from common.settings import Settings
from tests.support.claims import claim_job, commit, commit_failure
from tests.support.clock import Clock
from tests.unit.common.ledger.jobs import CAPTION, IMAGE, MODEL, TIMINGS, create_job, must_claim, recover

#: What a model said.
OUTPUT = Output(caption="a dog", score=-1.0, alternatives=(Alternative(caption="a cat", score=-1.5),))


class TestCreate:
    def test_a_new_job_is_queued_with_its_input(self, ledger: Ledger) -> None:
        job = ledger.get(create_job(ledger).id)

        assert (job.status, job.input, job.attempts) == (Status.QUEUED, IMAGE, 0)
        assert job.expires_at.timestamp() - job.created_at.timestamp() == 1000

    def test_a_job_with_a_cached_caption_succeeds_at_once(self, ledger: Ledger) -> None:
        job = ledger.get(create_job(ledger, cached=(MODEL, CAPTION)).id)

        assert (job.status, job.cached, job.output) == (Status.SUCCEEDED, True, CAPTION)
        assert claim_job(ledger, job.id) is None

    def test_the_same_idempotency_key_and_image_return_the_same_job(self, ledger: Ledger) -> None:
        first = create_job(ledger, idempotency_key="k")
        second = create_job(ledger, idempotency_key="k")

        assert second.id == first.id
        assert ledger.counts()[Status.QUEUED] == 1
        existing = ledger.find_idempotent("k", IMAGE.sha256)
        assert existing and existing.id == first.id

    def test_the_same_idempotency_key_with_another_image_is_rejected(self, ledger: Ledger) -> None:
        create_job(ledger, idempotency_key="k")

        with pytest.raises(Problem) as refused:
            ledger.create(new_id(), NewJob(input=IMAGE.model_copy(update={"sha256": "e1"}), idempotency_key="k"))
        assert refused.value.kind is problems.IDEMPOTENCY_CONFLICT

    def test_a_key_that_is_unique_while_open_names_the_next_job_once_the_first_has_ended(self, ledger: Ledger) -> None:
        first = create_job(ledger, idempotency_key="k", unique_while_open=True)
        assert create_job(ledger, idempotency_key="k", unique_while_open=True).id == first.id
        ledger.cancel(first.id)

        second = create_job(ledger, idempotency_key="k", unique_while_open=True)
        ledger.delete(first.id)

        assert second.id != first.id
        assert create_job(ledger, idempotency_key="k", unique_while_open=True).id == second.id

    def test_an_idempotency_key_belongs_to_the_options_too(self, ledger: Ledger) -> None:
        options = CaptionOptions(beams=8)
        first = create_job(ledger, idempotency_key="k", options=options)

        again = create_job(ledger, idempotency_key="k", options=CaptionOptions(beams=8, captions=None))
        existing = ledger.find_idempotent("k", IMAGE.sha256, options=options)

        assert existing and first.id == again.id == existing.id
        for other in (None, CaptionOptions(beams=7)):
            with pytest.raises(Problem, match="other options") as refused:
                create_job(ledger, idempotency_key="k", options=other)
            assert refused.value.kind is problems.IDEMPOTENCY_CONFLICT

    def test_a_job_recorded_twice_appears_once_in_its_batch(
        self, ledger: Ledger, components: Components, redis: Redis
    ) -> None:
        """redis-py repeats the script after a timeout."""
        job_id, batch = new_id(), new_id()
        components.batches.create(batch)
        for _ in range(2):
            ledger.create(job_id, NewJob(input=IMAGE, batch=batch))

        assert redis.zrange(f"index:all#{batch}", 0, -1) == [job_id]

    def test_a_full_queue_rejects_more_jobs(self, ledger: Ledger) -> None:
        for _ in range(3):
            create_job(ledger)
        ledger.admit(1)

        with pytest.raises(Problem) as refused:
            ledger.admit(2)
        assert refused.value.kind is problems.QUEUE_FULL


class TestGet:
    def test_an_unknown_job_is_not_found_and_a_deleted_job_is_gone(self, ledger: Ledger) -> None:
        job = create_job(ledger)
        ledger.delete(job.id)

        with pytest.raises(Problem) as gone:
            ledger.get(job.id)
        with pytest.raises(Problem) as unknown:
            ledger.get(new_id())
        assert (gone.value.kind, unknown.value.kind) == (problems.JOB_GONE, problems.JOB_NOT_FOUND)

    def test_progress_counts_the_jobs_ahead(self, ledger: Ledger) -> None:
        jobs = [create_job(ledger) for _ in range(3)]

        positions = [ledger.get(job.id).progress for job in jobs]

        assert [progress and progress.position for progress in positions] == [0, 1, 2]

    def test_the_eta_follows_the_speed_that_workers_announce(self, ledger: Ledger, components: Components) -> None:
        components.workers.announce(Worker(name="w", model=MODEL, pictures_per_second=0.5))
        create_job(ledger)

        progress = ledger.get(create_job(ledger).id).progress

        assert progress and progress.eta_seconds == 4.0

    def test_recent_jobs_are_paged_newest_first(self, ledger: Ledger) -> None:
        ids = [create_job(ledger).id for _ in range(5)]

        first, cursor = ledger.recent(limit=3)
        rest, end = ledger.recent(limit=3, cursor=cursor)

        assert [job.id for job in first + rest] == ids[::-1]
        assert end is None

    def test_recent_jobs_can_be_filtered_by_status(self, ledger: Ledger) -> None:
        first, second = create_job(ledger), create_job(ledger)
        ledger.cancel(first.id)

        jobs, _ = ledger.recent(status=Status.QUEUED)

        assert [job.id for job in jobs] == [second.id]


class TestClaim:
    def test_a_claimed_job_is_not_claimed_twice(self, ledger: Ledger) -> None:
        job = create_job(ledger)

        assert must_claim(ledger, job).job.attempts == 1
        assert claim_job(ledger, job.id) is None

    def test_concurrent_claims_give_a_job_to_exactly_one_worker(self, ledger: Ledger) -> None:
        job = create_job(ledger)

        with ThreadPoolExecutor(8) as pool:
            claims = list(pool.map(ledger.claim_next, [1] * 16))

        assert [claim.id for claimed in claims for claim in claimed.claims] == [job.id]


class TestCommit:
    def test_commit_writes_caption_model_and_timings(self, ledger: Ledger) -> None:
        claim = must_claim(ledger, create_job(ledger))

        assert commit(ledger, claim, CAPTION, model=MODEL, timings=TIMINGS)

        job = ledger.get(claim.id)
        assert (job.status, job.output, job.model, job.timings) == (
            Status.SUCCEEDED,
            CAPTION,
            MODEL,
            TIMINGS,
        )

    def test_a_second_commit_is_rejected(self, ledger: Ledger) -> None:
        claim = must_claim(ledger, create_job(ledger))
        commit(ledger, claim, CAPTION, model=MODEL, timings=TIMINGS)

        assert not commit(ledger, claim, Output(caption="late"), model=MODEL, timings=TIMINGS)
        assert ledger.get(claim.id).output == CAPTION

    def test_a_worker_with_an_expired_lease_cannot_overwrite_its_successor(
        self, ledger: Ledger, redis: Redis, clock: Clock
    ) -> None:
        paused = must_claim(ledger, create_job(ledger))
        clock.advance(31)
        recover(ledger, redis)
        successor = must_claim(ledger, paused.job)

        assert not commit(ledger, paused, Output(caption="late"), model=MODEL, timings=TIMINGS)
        assert commit(ledger, successor, CAPTION, model=MODEL, timings=TIMINGS)
        assert ledger.get(paused.id).output == CAPTION

    def test_a_committed_caption_is_cached_for_the_same_image_and_model_only(self, ledger: Ledger) -> None:
        claim = must_claim(ledger, create_job(ledger))
        commit(ledger, claim, CAPTION, model=MODEL, timings=TIMINGS)

        assert ledger.cached_caption("d0", "sha256:1") == CAPTION
        assert ledger.cached_caption("d0", "sha256:2") is None

    def test_options_are_recorded_and_their_template_surrounds_the_captions(self, ledger: Ledger) -> None:
        options = CaptionOptions(template="sks, {caption}", beams=4)
        claim = must_claim(ledger, create_job(ledger, options=options))
        commit(ledger, claim, OUTPUT, model=MODEL, timings=TIMINGS)

        job = ledger.get(claim.id)
        assert job.options == claim.job.options == options
        assert job.output == OUTPUT.with_template("sks, {caption}") != OUTPUT

    def test_the_cache_has_what_the_model_said_for_each_search(self, ledger: Ledger) -> None:
        options = CaptionOptions(template="sks, {caption}", beams=4)
        claim = must_claim(ledger, create_job(ledger, options=options))
        commit(ledger, claim, OUTPUT, model=MODEL, timings=TIMINGS)

        assert ledger.cached_caption("d0", "sha256:1", CaptionOptions(beams=4)) == OUTPUT
        assert ledger.cached_caption("d0", "sha256:1") is None

    def test_a_cached_caption_gets_the_job_s_template(self, ledger: Ledger) -> None:
        options = CaptionOptions(template="a photo of {caption}")
        job = create_job(ledger, cached=(MODEL, OUTPUT), options=options)

        assert job.output == ledger.get(job.id).output == OUTPUT.with_template("a photo of {caption}") != OUTPUT

    def test_a_changed_limit_of_unsure_holds_for_stored_and_cached_captions(
        self, ledger: Ledger, redis: Redis, settings: Settings, clock: Clock
    ) -> None:
        claim = must_claim(ledger, create_job(ledger))
        output = Output(caption="a dog", confidence=0.5)
        commit(ledger, claim, output.judged(0.4), model=MODEL, timings=TIMINGS)

        strict = Components(redis, settings.model_copy(update={"unsure_below": 0.6}), clock).ledger

        assert ledger.get(claim.id).output == output.judged(0.4) != output.judged(0.6)
        assert strict.get(claim.id).output == output.judged(0.6)
        assert [job.output for job in strict.read([claim.id])] == [output.judged(0.6)]
        assert strict.cached_caption("d0", "sha256:1") == output.judged(0.6)

    def test_a_failed_job_stores_its_problem(self, ledger: Ledger) -> None:
        claim = must_claim(ledger, create_job(ledger))

        assert commit_failure(ledger, claim, problems.DAMAGED_IMAGE("It is cut off."))

        job = ledger.get(claim.id)
        assert job.status is Status.FAILED
        assert job.error and job.error.type == "/problems/damaged-image"


class TestRetry:
    def test_a_failed_job_is_queued_again_as_if_it_were_new(self, ledger: Ledger) -> None:
        claim, other = must_claim(ledger, create_job(ledger)), create_job(ledger)
        commit_failure(ledger, claim, problems.CAPTION_FAILED("No caption."))
        ledger.cancel(other.id)

        job, is_queued = ledger.retry(claim.id)

        assert is_queued and (job.status, job.error, job.attempts) == (Status.QUEUED, None, 0)
        assert ledger.get(other.id).status is Status.CANCELED
        assert [again.id for again in ledger.claim_next(9).claims] == [job.id]

    def test_a_canceled_job_of_a_batch_is_queued_again(self, ledger: Ledger) -> None:
        job = create_job(ledger, batch="b")
        ledger.cancel(job.id)

        assert ledger.retry(job.id)[0].status is Status.QUEUED

    def test_a_job_without_a_stored_image_stays_failed(self, ledger: Ledger) -> None:
        lost = must_claim(ledger, create_job(ledger))
        commit_failure(ledger, lost, problems.UPLOAD_LOST("No file."))
        refused = ledger.create(new_id(), NewJob(error=problems.EMPTY_UPLOAD("It is empty.")))

        for job_id in (lost.id, refused.id):
            job, is_queued = ledger.retry(job_id)
            assert (job.status, is_queued) == (Status.FAILED, False)

    def test_a_job_that_waits_or_has_a_caption_does_not_change(self, ledger: Ledger) -> None:
        waiting, claim = create_job(ledger), must_claim(ledger, create_job(ledger))
        commit(ledger, claim, CAPTION, model=MODEL, timings=TIMINGS)

        assert [ledger.retry(job_id)[1] for job_id in (waiting.id, claim.id)] == [False, False]
        assert ledger.get(claim.id).output == CAPTION

    def test_a_full_queue_refuses_it(self, ledger: Ledger) -> None:
        canceled = create_job(ledger)
        ledger.cancel(canceled.id)
        for _ in range(4):  # so many may be open
            create_job(ledger)

        with pytest.raises(Problem) as refused:
            ledger.retry(canceled.id)

        assert refused.value.kind is problems.QUEUE_FULL


class TestCancel:
    def test_a_canceled_waiting_job_is_never_claimed(self, ledger: Ledger) -> None:
        job = create_job(ledger)

        assert ledger.cancel(job.id).status is Status.CANCELED
        assert claim_job(ledger, job.id) is None

    def test_the_caption_of_a_canceled_job_is_not_written(self, ledger: Ledger) -> None:
        claim = must_claim(ledger, create_job(ledger))
        ledger.cancel(claim.id)

        assert not commit(ledger, claim, CAPTION, model=MODEL, timings=TIMINGS)
        assert ledger.get(claim.id).output is None

    def test_canceling_a_finished_job_changes_nothing(self, ledger: Ledger) -> None:
        claim = must_claim(ledger, create_job(ledger))
        commit(ledger, claim, CAPTION, model=MODEL, timings=TIMINGS)

        assert ledger.cancel(claim.id).status is Status.SUCCEEDED


class TestDelete:
    def test_deleting_a_job_leaves_only_its_known_key(self, ledger: Ledger, redis: Redis) -> None:
        claim = must_claim(ledger, create_job(ledger))
        commit(ledger, claim, CAPTION, model=MODEL, timings=TIMINGS)

        ledger.delete(claim.id)

        assert set(redis.keys()) == {f"known:{claim.id}", "metrics", "turn"}

    def test_a_commit_does_not_restore_a_deleted_job(self, ledger: Ledger, redis: Redis) -> None:
        claim = must_claim(ledger, create_job(ledger))
        ledger.delete(claim.id)

        assert not commit(ledger, claim, CAPTION, model=MODEL, timings=TIMINGS)
        assert set(redis.keys()) == {f"known:{claim.id}", "metrics", "turn"}

    def test_the_idempotency_key_is_free_again_and_a_later_job_keeps_it(self, ledger: Ledger, redis: Redis) -> None:
        first = create_job(ledger, idempotency_key="k")
        ledger.delete(first.id)
        left = set(redis.keys())
        second = create_job(ledger, idempotency_key="k")
        ledger.delete(first.id)

        assert left == {f"known:{first.id}", "metrics", "turn"}
        assert second.id != first.id
        assert create_job(ledger, idempotency_key="k").id == second.id

    def test_a_batch_forgets_the_job(self, ledger: Ledger, redis: Redis) -> None:
        job = create_job(ledger, batch=new_id(), idempotency_key="a.jpg")
        ledger.delete(job.id)

        assert set(redis.keys()) == {f"known:{job.id}", f"batch:{job.batch}", "metrics", "turn"}
