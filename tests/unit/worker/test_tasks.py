"""The Celery task: every claimed job gets a result or is retried."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import pytest
from redis import Redis

from common import problems
from common.jobs import Job, Status
from common.ledger import Ledger
from common.options import CaptionOptions, SearchOptions
from common.settings import Settings
from tests.support.clock import Clock
from tests.support.images import drawing, encoded
from tests.unit.worker.fakes import MODEL, TIMEOUT, FakeCaptioner, Gate, eventually
from worker.runtime import WorkerRuntime

MakeJob = Callable[..., Job]
RunTask = Callable[..., None]


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
        captioner.on_caption = lambda: held.extend(claim.id for claim in runtime.claims)
        job = create_job()
        run_task()

        assert held == [job.id]
        assert list(runtime.claims) == []

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
