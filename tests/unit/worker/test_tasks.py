"""The Celery task: every claimed job gets a result or is retried."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import pytest
from redis import Redis

from common import problems
from common.jobs import Job, Status, new_id
from common.ledger import Ledger
from common.options import CaptionOptions, SearchOptions
from common.queue import THREADS_PER_PICTURE
from common.settings import Settings
from common.uploads import UploadStore
from tests.support.claims import claim_job
from tests.support.clock import Clock
from tests.support.images import drawing, encoded
from tests.unit.worker.fakes import MODEL, TIMEOUT, FakeCaptioner, Gate, Notifications, eventually, with_timeout
from worker.batcher import QUEUED_BATCHES
from worker.runtime import WorkerRuntime

MakeJob = Callable[..., Job]
RunTask = Callable[..., None]

BATCH = new_id()


class TestCaption:
    def test_a_waiting_job_is_captioned(
        self, ledger: Ledger, clock: Clock, create_job: MakeJob, run_task: RunTask, redis: Redis
    ) -> None:
        job = create_job(encoded(drawing(size=(640, 480))))
        clock.advance(2)
        run_task()

        done = ledger.get(job.id)
        assert (done.status, done.attempts, done.model) == (Status.SUCCEEDED, 1, MODEL)
        assert done.output and done.output.caption == "640 wide"
        assert done.timings and (done.timings.queue_seconds, done.timings.batch_size) == (2.0, 1)
        assert redis.zcard("leases") == 0

    def test_a_claim_is_held_only_while_its_job_is_captioned(
        self,
        runtime: WorkerRuntime,
        captioner: FakeCaptioner,
        create_job: MakeJob,
        run_task: RunTask,
    ) -> None:
        held: list[str] = []
        captioner.on_caption = lambda: held.extend(claim.id for claim in runtime.held())
        job = create_job()
        run_task()

        assert held == [job.id]
        assert runtime.held() == []

    def test_a_second_notification_does_nothing(
        self, ledger: Ledger, captioner: FakeCaptioner, create_job: MakeJob, run_task: RunTask
    ) -> None:
        job = create_job()
        run_task()
        first = ledger.get(job.id)
        run_task()

        assert captioner.calls == [1]
        assert ledger.get(job.id) == first

    def test_deleted_and_canceled_jobs_are_not_captioned(
        self, ledger: Ledger, captioner: FakeCaptioner, create_job: MakeJob, run_task: RunTask
    ) -> None:
        deleted, canceled = create_job(), create_job()
        ledger.delete(deleted.id)
        ledger.cancel(canceled.id)
        run_task()

        assert captioner.calls == []
        assert ledger.read([deleted.id]) == []


def caption_together(
    ledger: Ledger, gate: Gate, busy: threading.Thread, run_task: RunTask, jobs: list[Job]
) -> list[Job]:
    """The ended `jobs`, all of which were claimed while `gate` held the model call of the thread `busy`."""
    many = threading.Thread(target=run_task)
    many.start()
    eventually(lambda: all(job.status is Status.PROCESSING for job in ledger.read([job.id for job in jobs])))
    time.sleep(0.05)  # until the last job is queued in the batcher
    gate.open()
    many.join(TIMEOUT)
    busy.join(TIMEOUT)
    return ledger.read([job.id for job in jobs])


class TestSeveralJobs:
    def test_jobs_claimed_together_share_a_model_call(
        self, ledger: Ledger, captioner: FakeCaptioner, create_job: MakeJob, run_task: RunTask
    ) -> None:
        gate = Gate(captioner)
        jobs = [create_job(encoded(drawing(size=(100, 80))))]
        busy = threading.Thread(target=run_task)
        busy.start()
        gate.wait_for_call()
        jobs += [create_job(encoded(drawing(size=(101 + n, 80)))) for n in range(4)]
        done = caption_together(ledger, gate, busy, run_task, jobs)

        assert [job.output and job.output.caption for job in done] == [f"{100 + n} wide" for n in range(5)]
        assert captioner.calls == [1, 4]

    def test_jobs_with_different_searches_have_model_calls_of_their_own(
        self, ledger: Ledger, captioner: FakeCaptioner, create_job: MakeJob, run_task: RunTask, settings: Settings
    ) -> None:
        gate = Gate(captioner)
        create_job()
        busy = threading.Thread(target=run_task)
        busy.start()
        gate.wait_for_call()
        wide = CaptionOptions(beams=8, captions=8)
        template = CaptionOptions(template="sks, {caption}")
        jobs = [create_job(options=options) for options in (None, wide, template, wide)]
        done = caption_together(ledger, gate, busy, run_task, jobs)

        captions = [job.output and job.output.caption for job in done]
        assert captions == ["320 wide", "320 wide", "sks, 320 wide", "320 wide"]
        assert captioner.calls == [1, 2, 2]
        default = SearchOptions.of(settings)
        assert captioner.searches == [default, default, SearchOptions.of(settings, wide)]

    def test_bad_images_do_not_affect_other_jobs(self, ledger: Ledger, create_job: MakeJob, run_task: RunTask) -> None:
        jobs = [create_job(), create_job(b"no picture"), create_job(None), create_job()]
        run_task()

        assert [job.status.value for job in ledger.read([job.id for job in jobs])] == [
            "succeeded",
            "failed",
            "failed",
            "succeeded",
        ]

    def test_a_stopping_worker_releases_unstarted_jobs(
        self,
        runtime: WorkerRuntime,
        ledger: Ledger,
        captioner: FakeCaptioner,
        notifications: Notifications,
        create_job: MakeJob,
        run_task: RunTask,
    ) -> None:
        first, second = create_job(), create_job()
        captioner.on_prepare = runtime.stopping.set
        run_task()

        assert [job.status for job in ledger.read([first.id, second.id])] == [Status.SUCCEEDED, Status.QUEUED]
        assert notifications.count() == 1


class TestFailures:
    @pytest.mark.parametrize(
        ("data", "kind"),
        [
            (None, problems.UPLOAD_LOST),
            (b"no picture", problems.UNSUPPORTED_IMAGE),
            (encoded()[:-2000], problems.DAMAGED_IMAGE),
        ],
        ids=["lost", "no picture", "cut off"],
    )
    def test_an_unreadable_image_fails_with_its_problem(
        self,
        ledger: Ledger,
        captioner: FakeCaptioner,
        create_job: MakeJob,
        run_task: RunTask,
        data: bytes | None,
        kind: problems.Kind,
    ) -> None:
        job = create_job(data)
        run_task()

        failed = ledger.get(job.id)
        assert (failed.status, failed.attempts) == (Status.FAILED, 1)
        assert failed.error and (failed.error.type, failed.error.title) == (kind.type, kind.title)
        assert captioner.calls == []

    @pytest.mark.parametrize("step", ["on_prepare", "on_caption"])
    def test_an_unexpected_error_is_logged_but_not_shown_to_the_client(
        self,
        ledger: Ledger,
        captioner: FakeCaptioner,
        create_job: MakeJob,
        run_task: RunTask,
        caplog: pytest.LogCaptureFixture,
        step: str,
    ) -> None:
        def fail() -> None:
            raise ValueError("the secret of /etc")

        setattr(captioner, step, fail)
        job = create_job()
        run_task()

        failed = ledger.get(job.id)
        assert failed.error and failed.error.type == problems.INTERNAL.type
        assert "secret" not in failed.model_dump_json()
        assert "the secret of /etc" in caplog.text and job.id in caplog.text

    def test_a_problem_from_the_captioner_fails_the_job(
        self, ledger: Ledger, captioner: FakeCaptioner, create_job: MakeJob, run_task: RunTask
    ) -> None:
        captioner.on_caption = lambda: problems.CAPTION_FAILED("No.")
        job = create_job()

        run_task()

        failed = ledger.get(job.id)
        assert (failed.status, failed.output) == (Status.FAILED, None)
        assert failed.error and (failed.error.type, failed.error.detail) == ("/problems/caption-failed", "No.")

    def test_the_job_after_a_failed_one_is_captioned(
        self, ledger: Ledger, create_job: MakeJob, run_task: RunTask
    ) -> None:
        create_job(b"no picture")
        run_task()
        good = create_job()
        run_task()

        assert ledger.get(good.id).status is Status.SUCCEEDED


class TestStoreUnavailable:
    def test_a_job_is_retried_with_backoff_while_the_store_is_unavailable(
        self,
        ledger: Ledger,
        clock: Clock,
        redis: Redis,
        settings: Settings,
        captioner: FakeCaptioner,
        create_job: MakeJob,
        run_task: RunTask,
    ) -> None:
        job = create_job()
        store = settings.data / "uploads"
        store.rename(settings.data / "elsewhere")
        delays = []
        for _ in range(7):
            run_task()
            waiting = ledger.get(job.id)
            assert (waiting.status, waiting.attempts, waiting.error) == (Status.QUEUED, 0, None)
            delays.append(0)
            while not ledger.recover().waiting:
                clock.advance(1)
                redis.delete("recovering")  # its TTL follows the real clock
                delays[-1] += 1
        (settings.data / "elsewhere").rename(store)
        run_task()

        done = ledger.get(job.id)
        assert (done.status, done.attempts) == (Status.SUCCEEDED, 1)
        assert delays == [1, 2, 4, 8, 16, 30, 30]
        assert captioner.calls == [1]

    def test_the_backoff_stays_bounded_after_thousands_of_postponements(
        self,
        ledger: Ledger,
        clock: Clock,
        redis: Redis,
        settings: Settings,
        create_job: MakeJob,
        run_task: RunTask,
    ) -> None:
        job = create_job()
        redis.hset(f"job:{job.id}", "_postponed", 2000)
        (settings.data / "uploads").rename(settings.data / "elsewhere")
        run_task()
        clock.advance(30)

        assert ledger.recover().waiting == 1
        assert ledger.get(job.id).status is Status.QUEUED

    def test_a_truncated_image_is_not_captioned(
        self,
        ledger: Ledger,
        uploads: UploadStore,
        settings: Settings,
        create_job: MakeJob,
        run_task: RunTask,
    ) -> None:
        data = encoded(drawing(), "PNG")
        job = create_job(data)
        uploads.save(job.id, data[: len(data) // 2])
        run_task()

        assert ledger.get(job.id).status is Status.QUEUED


class TestLostClaim:
    def test_a_job_canceled_while_it_is_loaded_is_not_captioned(
        self,
        runtime: WorkerRuntime,
        ledger: Ledger,
        captioner: FakeCaptioner,
        create_job: MakeJob,
        run_task: RunTask,
    ) -> None:
        def cancel() -> None:
            ledger.cancel(job.id)
            runtime.extend()  # as the lease thread does

        job = create_job()
        captioner.on_prepare = cancel
        run_task()

        assert captioner.calls == []
        assert ledger.get(job.id).status is Status.CANCELED

    def test_a_job_canceled_while_it_is_captioned_stays_canceled(
        self, ledger: Ledger, captioner: FakeCaptioner, create_job: MakeJob, run_task: RunTask
    ) -> None:
        job = create_job()
        captioner.on_caption = lambda: ledger.cancel(job.id)
        run_task()

        canceled = ledger.get(job.id)
        assert (canceled.status, canceled.output) == (Status.CANCELED, None)

    def test_a_job_deleted_while_it_is_captioned_leaves_nothing(
        self,
        ledger: Ledger,
        uploads: UploadStore,
        redis: Redis,
        captioner: FakeCaptioner,
        create_job: MakeJob,
        run_task: RunTask,
        tmp_path: Path,
    ) -> None:
        def delete() -> None:
            uploads.delete(job.id)
            ledger.delete(job.id)

        job = create_job()
        captioner.on_caption = delete
        run_task()

        assert captioner.calls == [1]
        assert set(redis.keys()) == {f"known:{job.id}", "metrics"}
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

    def test_a_job_claimed_by_another_worker_meanwhile_is_not_overwritten(
        self,
        ledger: Ledger,
        clock: Clock,
        captioner: FakeCaptioner,
        create_job: MakeJob,
        run_task: RunTask,
    ) -> None:
        def lose() -> None:
            clock.advance(31)
            ledger.recover()
            assert ledger.claim_suspect()

        job = create_job()
        captioner.on_caption = lose
        run_task()

        job_now = ledger.get(job.id)
        assert (job_now.status, job_now.attempts) == (Status.PROCESSING, 2)


class TestLanes:
    def test_a_worker_at_its_bulk_limit_still_claims_an_interactive_job(
        self,
        runtime: WorkerRuntime,
        ledger: Ledger,
        settings: Settings,
        captioner: FakeCaptioner,
        create_job: MakeJob,
        run_task: RunTask,
    ) -> None:
        gate = Gate(captioner)
        bulk = [create_job(batch=BATCH) for _ in range(QUEUED_BATCHES * settings.max_batch + 3)]
        threads = [threading.Thread(target=run_task) for _ in range(3)]
        for thread in threads:
            thread.start()
        gate.wait_for_call()
        eventually(lambda: len(runtime.held()) == QUEUED_BATCHES * settings.max_batch)
        single = create_job()
        threads.append(threading.Thread(target=run_task))
        threads[-1].start()
        eventually(lambda: ledger.get(single.id).status is Status.PROCESSING)
        waiting = ledger.counts()[Status.QUEUED]
        gate.open()
        for thread in threads:
            thread.join(TIMEOUT)

        assert waiting == 3
        assert {job.status for job in ledger.read([job.id for job in [*bulk, single]])} == {Status.SUCCEEDED}

    def test_some_threads_are_reserved_for_interactive_jobs(
        self, runtime: WorkerRuntime, ledger: Ledger, settings: Settings, create_job: MakeJob
    ) -> None:
        max_bulk_tasks = THREADS_PER_PICTURE * settings.max_batch
        with ExitStack() as held:
            for _ in range(max_bulk_tasks):
                create_job(batch=BATCH)
                assert held.enter_context(runtime.claim_jobs()).claims
            create_job(batch=BATCH)
            single = create_job()

            assert [claim.id for claim in held.enter_context(runtime.claim_jobs()).claims] == [single.id]
        with runtime.claim_jobs() as claimed:
            assert len(claimed.claims) == 1

    def test_a_job_canceled_in_the_batcher_s_queue_costs_no_model_call(
        self,
        runtime: WorkerRuntime,
        ledger: Ledger,
        captioner: FakeCaptioner,
        create_job: MakeJob,
        run_task: RunTask,
    ) -> None:
        gate = Gate(captioner)
        jobs = [create_job(batch=BATCH)]
        threads = [threading.Thread(target=run_task)]
        threads[0].start()
        gate.wait_for_call()
        jobs.append(create_job(batch=BATCH))
        threads.append(threading.Thread(target=run_task))
        threads[1].start()
        eventually(lambda: len(runtime.held()) == 2)
        ledger.cancel(jobs[1].id)
        runtime.extend()
        gate.open()
        for thread in threads:
            thread.join(TIMEOUT)

        assert captioner.calls == [1]
        assert [job.status.value for job in ledger.read([job.id for job in jobs])] == ["succeeded", "canceled"]


@pytest.fixture
def lose_worker(ledger: Ledger, clock: Clock, redis: Redis) -> RunTask:
    """Has a job claimed by another worker that is then lost."""

    def lose(job: Job) -> None:
        assert claim_job(ledger, job.id)
        clock.advance(31)
        redis.delete("recovering")  # its TTL follows the real clock
        ledger.recover()

    return lose


class TestSuspects:
    def test_a_suspect_is_captioned_alone(
        self,
        runtime: WorkerRuntime,
        ledger: Ledger,
        lose_worker: RunTask,
        captioner: FakeCaptioner,
        create_job: MakeJob,
        run_task: RunTask,
    ) -> None:
        suspect = create_job()
        lose_worker(suspect)
        other_jobs: list[Job] = []
        held: list[str] = []
        threads: list[threading.Thread] = []

        def try_to_join() -> None:
            held.extend(claim.id for claim in runtime.held())
            if not threads:
                other_jobs.append(create_job())
                threads.append(threading.Thread(target=run_task))
                threads[0].start()
                time.sleep(0.1)  # long enough for the other job to start, if it could
                held.extend(claim.id for claim in runtime.held())

        captioner.on_caption = try_to_join
        run_task()
        threads[0].join(TIMEOUT)

        assert held == [suspect.id, suspect.id, other_jobs[0].id]
        assert {job.status for job in ledger.read([suspect.id, other_jobs[0].id])} == {Status.SUCCEEDED}

    def test_a_released_job_is_not_a_suspect(self, ledger: Ledger, create_job: MakeJob) -> None:
        job = create_job()
        claim = claim_job(ledger, job.id)
        assert claim and ledger.release([claim])

        assert ledger.claim_suspect() is None
        assert [claim_again.id for claim_again in ledger.claim_next(1).claims] == [job.id]

    def test_other_jobs_are_captioned_before_a_suspect(
        self,
        ledger: Ledger,
        lose_worker: RunTask,
        captioner: FakeCaptioner,
        create_job: MakeJob,
        run_task: RunTask,
    ) -> None:
        suspect, *others = (create_job() for _ in range(3))
        lose_worker(suspect)
        run_task()

        done = ledger.read([*(job.id for job in others), suspect.id])
        assert [job.attempts for job in done] == [1, 1, 2]
        assert captioner.calls[-1] == 1 and sum(captioner.calls) == 3


class TestStopping:
    def test_a_stopping_worker_claims_nothing_and_notifies_another(
        self,
        runtime: WorkerRuntime,
        ledger: Ledger,
        notifications: Notifications,
        create_job: MakeJob,
        run_task: RunTask,
    ) -> None:
        runtime.stopping.set()
        job = create_job()
        run_task()

        waiting = ledger.get(job.id)
        assert (waiting.status, waiting.attempts) == (Status.QUEUED, 0)
        assert notifications.count() == 1

    def test_a_job_is_released_when_the_batcher_is_closed(
        self,
        runtime: WorkerRuntime,
        ledger: Ledger,
        notifications: Notifications,
        create_job: MakeJob,
        run_task: RunTask,
    ) -> None:
        with_timeout(runtime.batcher.close)
        job = create_job()
        run_task()

        waiting = ledger.get(job.id)
        assert (waiting.status, waiting.attempts) == (Status.QUEUED, 0)
        assert notifications.count() == 1
