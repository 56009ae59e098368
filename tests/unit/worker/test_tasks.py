"""Whatever happens to a job in the worker, its record says so or it is tried again."""

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
from common.queue import THREADS_PER_PICTURE
from common.settings import Settings
from common.uploads import UploadStore
from tests.support.claims import claim_job
from tests.support.clock import Clock
from tests.support.images import drawing, encoded
from tests.unit.worker.fakes import MODEL, PATIENCE, FakeCaptioner, Gate, Notifications, eventually, in_time
from worker.batcher import WAITING_BATCHES
from worker.runtime import WorkerRuntime

MakeJob = Callable[..., Job]
Answer = Callable[..., None]

BATCH = new_id()


class TestCaption:
    def test_a_waiting_job_is_captioned(
        self, ledger: Ledger, clock: Clock, wait_in: MakeJob, answer: Answer, redis: Redis
    ) -> None:
        job = wait_in(encoded(drawing(size=(640, 480))))
        clock.advance(2)
        answer()

        done = ledger.get(job.id)
        assert (done.status, done.attempts, done.model) == (Status.SUCCEEDED, 1, MODEL)
        assert done.output and done.output.caption == "640 wide"
        assert done.timings and (done.timings.queue_seconds, done.timings.batch_size) == (2.0, 1)
        assert redis.zcard("leases") == 0

    def test_it_is_held_while_it_is_captioned_and_no_longer(
        self, runtime: WorkerRuntime, captioner: FakeCaptioner, wait_in: MakeJob, answer: Answer
    ) -> None:
        held: list[str] = []
        captioner.at_caption = lambda: held.extend(claim.id for claim in runtime.held())
        job = wait_in()
        answer()

        assert held == [job.id]
        assert runtime.held() == []

    def test_a_second_notification_of_the_same_job_does_nothing(
        self, ledger: Ledger, captioner: FakeCaptioner, wait_in: MakeJob, answer: Answer
    ) -> None:
        job = wait_in()
        answer()
        first = ledger.get(job.id)
        answer()

        assert captioner.calls == [1]
        assert ledger.get(job.id) == first

    def test_a_notification_of_a_job_that_is_gone_or_canceled_does_nothing(
        self, ledger: Ledger, captioner: FakeCaptioner, wait_in: MakeJob, answer: Answer
    ) -> None:
        gone, canceled = wait_in(), wait_in()
        ledger.delete(gone.id)
        ledger.cancel(canceled.id)
        answer()

        assert captioner.calls == []
        assert ledger.read([gone.id]) == []


class TestMany:
    def test_jobs_that_are_claimed_together_share_a_call_of_the_model(
        self, ledger: Ledger, captioner: FakeCaptioner, wait_in: MakeJob, answer: Answer
    ) -> None:
        gate = Gate(captioner)
        jobs = [wait_in(encoded(drawing(size=(100, 80))))]
        busy = threading.Thread(target=answer)
        busy.start()
        gate.wait_for_call()
        jobs += [wait_in(encoded(drawing(size=(101 + n, 80)))) for n in range(4)]
        many = threading.Thread(target=answer)
        many.start()
        eventually(lambda: all(job.status is Status.PROCESSING for job in ledger.read([job.id for job in jobs])))
        time.sleep(0.05)  # until the last one is with the batcher
        gate.open()
        many.join(PATIENCE)
        busy.join(PATIENCE)

        done = ledger.read([job.id for job in jobs])
        assert [job.output and job.output.caption for job in done] == [f"{100 + n} wide" for n in range(5)]
        assert captioner.calls == [1, 4]

    def test_a_bad_one_fails_alone(self, ledger: Ledger, wait_in: MakeJob, answer: Answer) -> None:
        jobs = [wait_in(), wait_in(b"no picture"), wait_in(None), wait_in()]
        answer()

        assert [job.status.value for job in ledger.read([job.id for job in jobs])] == [
            "succeeded",
            "failed",
            "failed",
            "succeeded",
        ]

    def test_a_worker_that_stops_in_between_passes_on_what_it_has_not_begun(
        self,
        runtime: WorkerRuntime,
        ledger: Ledger,
        captioner: FakeCaptioner,
        notifications: Notifications,
        wait_in: MakeJob,
        answer: Answer,
    ) -> None:
        first, second = wait_in(), wait_in()
        captioner.at_prepare = runtime.stopping.set
        answer()

        assert [job.status for job in ledger.read([first.id, second.id])] == [Status.SUCCEEDED, Status.QUEUED]
        assert notifications.count() == 1


class TestTrouble:
    @pytest.mark.parametrize(
        ("data", "kind"),
        [
            (None, problems.UPLOAD_LOST),
            (b"no picture", problems.UNSUPPORTED_IMAGE),
            (encoded()[:-2000], problems.DAMAGED_IMAGE),
        ],
        ids=["lost", "no picture", "cut off"],
    )
    def test_a_picture_that_cannot_be_read_fails_with_its_problem(
        self,
        ledger: Ledger,
        captioner: FakeCaptioner,
        wait_in: MakeJob,
        answer: Answer,
        data: bytes | None,
        kind: problems.Kind,
    ) -> None:
        job = wait_in(data)
        answer()

        failed = ledger.get(job.id)
        assert (failed.status, failed.attempts) == (Status.FAILED, 1)
        assert failed.error and (failed.error.type, failed.error.title) == (kind.type, kind.title)
        assert captioner.calls == []

    @pytest.mark.parametrize("step", ["at_prepare", "at_caption"])
    def test_an_unexpected_error_is_for_the_log_and_not_for_the_client(
        self,
        ledger: Ledger,
        captioner: FakeCaptioner,
        wait_in: MakeJob,
        answer: Answer,
        caplog: pytest.LogCaptureFixture,
        step: str,
    ) -> None:
        def stumble() -> None:
            raise ValueError("the secret of /etc")

        setattr(captioner, step, stumble)
        job = wait_in()
        answer()

        failed = ledger.get(job.id)
        assert failed.error and failed.error.type == problems.INTERNAL.type
        assert "secret" not in failed.model_dump_json()
        assert "the secret of /etc" in caplog.text and job.id in caplog.text

    def test_a_caption_that_means_nothing_fails_with_its_problem(
        self, ledger: Ledger, captioner: FakeCaptioner, wait_in: MakeJob, answer: Answer
    ) -> None:
        captioner.at_caption = lambda: problems.CAPTION_FAILED("No.")
        job = wait_in()

        answer()

        failed = ledger.get(job.id)
        assert (failed.status, failed.output) == (Status.FAILED, None)
        assert failed.error and (failed.error.type, failed.error.detail) == ("/problems/caption-failed", "No.")

    def test_the_job_after_a_failed_one_is_captioned(self, ledger: Ledger, wait_in: MakeJob, answer: Answer) -> None:
        wait_in(b"no picture")
        answer()
        good = wait_in()
        answer()

        assert ledger.get(good.id).status is Status.SUCCEEDED


class TestStoreAway:
    def test_a_job_whose_picture_cannot_be_had_waits_for_it_without_losing_an_attempt(
        self,
        ledger: Ledger,
        clock: Clock,
        redis: Redis,
        settings: Settings,
        captioner: FakeCaptioner,
        wait_in: MakeJob,
        answer: Answer,
    ) -> None:
        job = wait_in()
        store = settings.data / "uploads"
        store.rename(settings.data / "elsewhere")
        pauses = []
        for _ in range(7):
            answer()
            waiting = ledger.get(job.id)
            assert (waiting.status, waiting.attempts, waiting.error) == (Status.QUEUED, 0, None)
            pauses.append(0)
            while not ledger.recover().waiting:
                clock.advance(1)
                redis.delete("recovering")  # its expiry follows the real clock
                pauses[-1] += 1
        (settings.data / "elsewhere").rename(store)
        answer()

        done = ledger.get(job.id)
        assert (done.status, done.attempts) == (Status.SUCCEEDED, 1)
        assert pauses == [1, 2, 4, 8, 16, 30, 30]
        assert captioner.calls == [1]

    def test_an_outage_of_a_day_is_waited_out(
        self,
        ledger: Ledger,
        clock: Clock,
        redis: Redis,
        settings: Settings,
        wait_in: MakeJob,
        answer: Answer,
    ) -> None:
        job = wait_in()
        redis.hset(f"job:{job.id}", "_postponed", 2000)
        (settings.data / "uploads").rename(settings.data / "elsewhere")
        answer()
        clock.advance(30)

        assert ledger.recover().waiting == 1
        assert ledger.get(job.id).status is Status.QUEUED

    def test_half_a_picture_is_not_captioned(
        self, ledger: Ledger, uploads: UploadStore, settings: Settings, wait_in: MakeJob, answer: Answer
    ) -> None:
        data = encoded(drawing(), "PNG")
        job = wait_in(data)
        uploads.save(job.id, data[: len(data) // 2])
        answer()

        assert ledger.get(job.id).status is Status.QUEUED


class TestLostClaim:
    def test_a_job_canceled_while_it_is_loaded_is_not_captioned(
        self, runtime: WorkerRuntime, ledger: Ledger, captioner: FakeCaptioner, wait_in: MakeJob, answer: Answer
    ) -> None:
        def cancel() -> None:
            ledger.cancel(job.id)
            runtime.extend()  # as a thread does every second

        job = wait_in()
        captioner.at_prepare = cancel
        answer()

        assert captioner.calls == []
        assert ledger.get(job.id).status is Status.CANCELED

    def test_a_job_canceled_while_it_is_captioned_stays_canceled(
        self, ledger: Ledger, captioner: FakeCaptioner, wait_in: MakeJob, answer: Answer
    ) -> None:
        job = wait_in()
        captioner.at_caption = lambda: ledger.cancel(job.id)
        answer()

        canceled = ledger.get(job.id)
        assert (canceled.status, canceled.output) == (Status.CANCELED, None)

    def test_a_job_deleted_while_it_is_captioned_leaves_nothing(
        self,
        ledger: Ledger,
        uploads: UploadStore,
        redis: Redis,
        captioner: FakeCaptioner,
        wait_in: MakeJob,
        answer: Answer,
        tmp_path: Path,
    ) -> None:
        def delete() -> None:
            uploads.delete(job.id)
            ledger.delete(job.id)

        job = wait_in()
        captioner.at_caption = delete
        answer()

        assert captioner.calls == [1]
        assert redis.keys() == [f"known:{job.id}"]
        assert [path for path in tmp_path.rglob("*") if path.is_file()] == []

    def test_a_job_given_to_another_worker_meanwhile_is_left_to_it(
        self, ledger: Ledger, clock: Clock, captioner: FakeCaptioner, wait_in: MakeJob, answer: Answer
    ) -> None:
        def lose() -> None:
            clock.advance(31)
            ledger.recover()
            assert ledger.claim_suspect()

        job = wait_in()
        captioner.at_caption = lose
        answer()

        other_s = ledger.get(job.id)
        assert (other_s.status, other_s.attempts) == (Status.PROCESSING, 2)


class TestLanes:
    def test_a_worker_full_of_a_batch_still_takes_an_interactive_job(
        self,
        runtime: WorkerRuntime,
        ledger: Ledger,
        settings: Settings,
        captioner: FakeCaptioner,
        wait_in: MakeJob,
        answer: Answer,
    ) -> None:
        gate = Gate(captioner)
        bulk = [wait_in(batch=BATCH) for _ in range(WAITING_BATCHES * settings.max_batch + 3)]
        threads = [threading.Thread(target=answer) for _ in range(3)]
        for thread in threads:
            thread.start()
        gate.wait_for_call()
        eventually(lambda: len(runtime.held()) == WAITING_BATCHES * settings.max_batch)
        single = wait_in()
        threads.append(threading.Thread(target=answer))
        threads[-1].start()
        eventually(lambda: ledger.get(single.id).status is Status.PROCESSING)
        waiting = ledger.counts()[Status.QUEUED]
        gate.open()
        for thread in threads:
            thread.join(PATIENCE)

        assert waiting == 3
        assert {job.status for job in ledger.read([job.id for job in [*bulk, single]])} == {Status.SUCCEEDED}

    def test_threads_are_kept_for_interactive_jobs(
        self, runtime: WorkerRuntime, ledger: Ledger, settings: Settings, wait_in: MakeJob
    ) -> None:
        most = THREADS_PER_PICTURE * settings.max_batch
        with ExitStack() as held:
            for _ in range(most):
                wait_in(batch=BATCH)
                assert held.enter_context(runtime.claiming()).claims
            wait_in(batch=BATCH)
            single = wait_in()

            assert [claim.id for claim in held.enter_context(runtime.claiming()).claims] == [single.id]
        with runtime.claiming() as claimed:
            assert len(claimed.claims) == 1

    def test_a_job_that_is_canceled_while_it_waits_for_the_model_costs_no_call(
        self, runtime: WorkerRuntime, ledger: Ledger, captioner: FakeCaptioner, wait_in: MakeJob, answer: Answer
    ) -> None:
        gate = Gate(captioner)
        jobs = [wait_in(batch=BATCH)]
        threads = [threading.Thread(target=answer)]
        threads[0].start()
        gate.wait_for_call()
        jobs.append(wait_in(batch=BATCH))
        threads.append(threading.Thread(target=answer))
        threads[1].start()
        eventually(lambda: len(runtime.held()) == 2)
        ledger.cancel(jobs[1].id)
        runtime.extend()
        gate.open()
        for thread in threads:
            thread.join(PATIENCE)

        assert captioner.calls == [1]
        assert [job.status.value for job in ledger.read([job.id for job in jobs])] == ["succeeded", "canceled"]


@pytest.fixture
def hold_and_die(ledger: Ledger, clock: Clock, redis: Redis) -> Answer:
    """What another worker does that a job ends: it claims the job and is not heard of again."""

    def lose(job: Job) -> None:
        assert claim_job(ledger, job.id)
        clock.advance(31)
        redis.delete("recovering")  # its expiry follows the real clock
        ledger.recover()

    return lose


class TestSuspects:
    def test_a_job_that_was_held_when_a_worker_was_lost_is_captioned_alone(
        self,
        runtime: WorkerRuntime,
        ledger: Ledger,
        hold_and_die: Answer,
        captioner: FakeCaptioner,
        wait_in: MakeJob,
        answer: Answer,
    ) -> None:
        suspect = wait_in()
        hold_and_die(suspect)
        neighbours: list[Job] = []
        held: list[str] = []
        threads: list[threading.Thread] = []

        def meet() -> None:
            held.extend(claim.id for claim in runtime.held())
            if not threads:
                neighbours.append(wait_in())
                threads.append(threading.Thread(target=answer))
                threads[0].start()
                time.sleep(0.1)  # long enough for the neighbour to come in, if it could
                held.extend(claim.id for claim in runtime.held())

        captioner.at_caption = meet
        answer()
        threads[0].join(PATIENCE)

        assert held == [suspect.id, suspect.id, neighbours[0].id]
        assert {job.status for job in ledger.read([suspect.id, neighbours[0].id])} == {Status.SUCCEEDED}

    def test_a_job_that_was_handed_back_is_not_suspected(self, ledger: Ledger, wait_in: MakeJob) -> None:
        job = wait_in()
        claim = claim_job(ledger, job.id)
        assert claim and ledger.release([claim])

        assert ledger.claim_suspect() is None
        assert [again.id for again in ledger.claim_next(1).claims] == [job.id]

    def test_it_does_not_keep_other_jobs_waiting(
        self,
        ledger: Ledger,
        hold_and_die: Answer,
        captioner: FakeCaptioner,
        wait_in: MakeJob,
        answer: Answer,
    ) -> None:
        suspect, *others = (wait_in() for _ in range(3))
        hold_and_die(suspect)
        answer()

        done = ledger.read([*(job.id for job in others), suspect.id])
        assert [job.attempts for job in done] == [1, 1, 2]
        assert captioner.calls[-1] == 1 and sum(captioner.calls) == 3


class TestStopping:
    def test_a_stopping_worker_passes_the_notification_on_and_leaves_the_job(
        self, runtime: WorkerRuntime, ledger: Ledger, notifications: Notifications, wait_in: MakeJob, answer: Answer
    ) -> None:
        runtime.stopping.set()
        job = wait_in()
        answer()

        waiting = ledger.get(job.id)
        assert (waiting.status, waiting.attempts) == (Status.QUEUED, 0)
        assert notifications.count() == 1

    def test_a_job_that_comes_too_late_for_the_batcher_is_handed_back(
        self, runtime: WorkerRuntime, ledger: Ledger, notifications: Notifications, wait_in: MakeJob, answer: Answer
    ) -> None:
        in_time(runtime.batcher.close)
        job = wait_in()
        answer()

        waiting = ledger.get(job.id)
        assert (waiting.status, waiting.attempts) == (Status.QUEUED, 0)
        assert notifications.count() == 1
