"""The worker runtime: heartbeat, leases, notifications and shutdown."""

from __future__ import annotations

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from types import SimpleNamespace

import fakeredis
import pytest
from redis import Redis

from common.jobs import Job, ModelInfo, Output, Status, Timings, new_id
from common.ledger import Claim, Ledger, Workers
from common.ledger.submission import SCHEMA_VERSION
from common.logs import Subject
from common.options import CaptionOptions, SearchOptions
from common.queue import CLAIM_SIZE
from tests.support.claims import commit
from tests.support.clock import Clock
from tests.support.images import drawing, encoded
from tests.unit.worker.fakes import (
    MODEL,
    OTHER_MODEL,
    TIMEOUT,
    FakeCaptioner,
    Gate,
    Notifications,
    eventually,
    with_timeout,
)
from worker import runtime as module
from worker.batcher import Closed
from worker.runtime import (
    BROKER_CHECK_DELAY,
    DRAIN_TIMEOUT,
    MAX_RECOVERY_NOTIFICATIONS,
    STALL_TIMEOUT,
    PreparedImage,
    WorkerRuntime,
)

MakeJob = Callable[..., Job]
#: Options that ask for the model of the worker, and for another one.
OWN, OTHER = CaptionOptions(model=MODEL.name), CaptionOptions(model=OTHER_MODEL)


@pytest.fixture
def claimed(create_job: MakeJob, ledger: Ledger) -> Claim:
    create_job()
    (claim,) = ledger.claim_next(1).claims
    return claim


@contextmanager
def holding(runtime: WorkerRuntime, claim: Claim) -> Iterator[None]:
    """The runtime holds `claim` inside the context."""
    runtime.claims.add([claim])
    try:
        yield
    finally:
        runtime.drop([claim])


def prepared(runtime: WorkerRuntime, captioner: FakeCaptioner) -> PreparedImage:
    return PreparedImage(captioner.prepare(encoded(drawing())), SearchOptions.of(runtime.settings), Subject(new_id()))


class TestHeartbeat:
    def test_the_heartbeat_announces_the_worker_with_its_model(self, runtime: WorkerRuntime, workers: Workers) -> None:
        before = workers.alive()
        runtime.heartbeat()

        (worker,) = workers.alive()
        assert before == []
        assert (worker.model, worker.pictures_per_second, worker.ledger_schema) == (MODEL, None, SCHEMA_VERSION)

    def test_the_heartbeat_announces_process_machine_and_load(
        self, runtime: WorkerRuntime, workers: Workers, claimed: Claim
    ) -> None:
        with holding(runtime, claimed):
            runtime.heartbeat()

        (worker,) = workers.alive()
        assert worker.name == f"{worker.host}-{worker.pid}" == f"{socket.gethostname()}-{os.getpid()}"
        assert (worker.device, worker.precision, worker.version) == ("cpu", "fp32", version("captiond"))
        assert (worker.capacity, worker.jobs) == (runtime.settings.max_batch, 1)
        assert worker.memory_bytes > 10_000_000

    def test_the_heartbeat_announces_whether_the_model_is_loaded_and_which(
        self, runtime: WorkerRuntime, captioner: FakeCaptioner, workers: Workers
    ) -> None:
        runtime.heartbeat()
        (before,) = workers.alive()
        captioner.loaded, captioner.model = False, ModelInfo(name="fake", version="sha256:2")
        runtime.heartbeat()

        (worker,) = workers.alive()
        assert (before.loaded, worker.loaded, worker.model.version) == (True, False, "sha256:2")

    def test_the_heartbeat_announces_the_measured_speed(
        self, runtime: WorkerRuntime, captioner: FakeCaptioner, workers: Workers
    ) -> None:
        runtime.batcher.submit(prepared(runtime, captioner)).result(TIMEOUT)
        runtime.heartbeat()

        (worker,) = workers.alive()
        assert worker.pictures_per_second == runtime.batcher.items_per_second is not None


class TestStalling:
    def test_a_worker_without_notifications_exits_while_jobs_wait(
        self, runtime: WorkerRuntime, create_job: MakeJob, clock: Clock, exit_codes: list[int]
    ) -> None:
        create_job()
        clock.advance(STALL_TIMEOUT)
        runtime.heartbeat()
        earlier_exit_codes = list(exit_codes)
        clock.advance(1)
        runtime.heartbeat()

        assert (earlier_exit_codes, exit_codes) == ([], [1])

    def test_a_worker_does_not_exit_while_the_broker_is_unavailable(
        self,
        runtime: WorkerRuntime,
        create_job: MakeJob,
        clock: Clock,
        exit_codes: list[int],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        create_job()
        broker = SimpleNamespace(available=False)
        monkeypatch.setattr(module, "is_broker_reachable", lambda celery: broker.available)
        for _ in range(100):
            clock.advance(1)
            runtime.heartbeat()
        broker.available = True
        clock.advance(STALL_TIMEOUT - BROKER_CHECK_DELAY)
        runtime.heartbeat()
        earlier_exit_codes = list(exit_codes)
        clock.advance(BROKER_CHECK_DELAY + 1)
        runtime.heartbeat()

        assert (earlier_exit_codes, exit_codes) == ([], [1])

    def test_time_without_waiting_jobs_does_not_count_as_stalled(
        self, runtime: WorkerRuntime, create_job: MakeJob, clock: Clock, exit_codes: list[int]
    ) -> None:
        clock.advance(10 * STALL_TIMEOUT)
        runtime.heartbeat()
        create_job()
        clock.advance(STALL_TIMEOUT)
        runtime.heartbeat()

        assert exit_codes == []

    def test_a_worker_that_holds_a_job_has_not_stalled(
        self, runtime: WorkerRuntime, create_job: MakeJob, claimed: Claim, clock: Clock, exit_codes: list[int]
    ) -> None:
        create_job()
        with holding(runtime, claimed):
            clock.advance(10 * STALL_TIMEOUT)
            runtime.heartbeat()
            clock.advance(10 * STALL_TIMEOUT)
        runtime.heartbeat()

        assert exit_codes == []

    def test_a_stopping_worker_has_not_stalled(
        self, runtime: WorkerRuntime, create_job: MakeJob, clock: Clock, exit_codes: list[int]
    ) -> None:
        create_job()
        runtime.stopping.set()
        clock.advance(10 * STALL_TIMEOUT)
        runtime.heartbeat()

        assert exit_codes == []


class TestLeases:
    def test_the_lease_of_a_held_claim_is_extended(
        self, runtime: WorkerRuntime, ledger: Ledger, claimed: Claim, clock: Clock
    ) -> None:
        with holding(runtime, claimed):
            clock.advance(25)
            runtime.extend()
            clock.advance(25)
            runtime.recover()

        assert ledger.get(claimed.id).status is Status.PROCESSING

    def test_the_lease_of_a_dropped_claim_expires(
        self, runtime: WorkerRuntime, ledger: Ledger, claimed: Claim, clock: Clock, notifications: Notifications
    ) -> None:
        with holding(runtime, claimed):
            pass
        clock.advance(25)
        runtime.extend()
        clock.advance(25)
        runtime.recover()

        assert ledger.get(claimed.id).status is Status.QUEUED
        assert notifications.count() == 1

    def test_a_claim_is_dropped_after_an_exception(self, runtime: WorkerRuntime, claimed: Claim) -> None:
        with pytest.raises(ValueError), holding(runtime, claimed):
            assert list(runtime.claims) == [claimed]
            raise ValueError

        assert list(runtime.claims) == []


class TestNotifications:
    def test_repeated_recoveries_keep_a_limited_number_of_pending_notifications(
        self, runtime: WorkerRuntime, create_job: MakeJob, notifications: Notifications, redis: Redis
    ) -> None:
        for _ in range(MAX_RECOVERY_NOTIFICATIONS * CLAIM_SIZE + 1):
            create_job()
        for _ in range(3):
            redis.delete("recovering")  # its TTL follows the real clock
            runtime.recover()

        assert notifications.count() == MAX_RECOVERY_NOTIFICATIONS

    def test_notifications_are_retried_after_a_delay_while_the_broker_is_unavailable(
        self, runtime: WorkerRuntime, create_job: MakeJob, redis: Redis, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        attempts = []

        def fail_to_notify(celery: object, jobs: int, model: str) -> bool:
            attempts.append(clock())
            return False

        monkeypatch.setattr(module, "notify", fail_to_notify)
        create_job()
        started = clock()
        for _ in range(12):
            redis.delete("recovering")
            runtime.recover()
            clock.advance(1)

        assert [at - started for at in attempts] == [0, 5, 10]


class TestModels:
    """The jobs and chunks that ask for a model are those of the workers that have it."""

    def test_a_task_captions_the_jobs_that_ask_for_the_worker_s_model_or_for_none(
        self, ledger: Ledger, create_job: MakeJob, run_task: Callable[[], None]
    ) -> None:
        anyones, own, other = (create_job(options=options).id for options in (None, OWN, OTHER))
        run_task()

        assert [ledger.get(job_id).status for job_id in (anyones, own, other)] == [
            Status.SUCCEEDED,
            Status.SUCCEEDED,
            Status.QUEUED,
        ]

    def test_a_suspect_of_another_model_stays_for_its_workers(
        self, runtime: WorkerRuntime, ledger: Ledger, create_job: MakeJob, clock: Clock, run_task: Callable[[], None]
    ) -> None:
        job = create_job(options=OTHER)
        ledger.claim_next(1, model=OTHER_MODEL)
        clock.advance(31)
        runtime.recover()
        run_task()

        suspect = ledger.claim_suspect(OTHER_MODEL)
        assert suspect and suspect.id == job.id

    def test_the_recovery_notifies_the_workers_of_each_model(
        self, runtime: WorkerRuntime, create_job: MakeJob, notifications: Notifications
    ) -> None:
        for _ in range(CLAIM_SIZE + 1):
            create_job(options=OTHER)
        runtime.recover()

        assert [notifications.count(), notifications.count(OTHER_MODEL)] == [0, 2]

    def test_a_released_job_is_notified_to_the_workers_with_its_model(
        self, runtime: WorkerRuntime, ledger: Ledger, create_job: MakeJob, notifications: Notifications
    ) -> None:
        create_job(options=OWN)
        create_job()
        with runtime.claim_jobs() as claimed:
            runtime.release(claimed.claims)

        assert [notifications.count(), notifications.count(MODEL.name)] == [1, 1]

    def test_jobs_of_another_model_do_not_make_a_worker_exit(
        self, runtime: WorkerRuntime, create_job: MakeJob, clock: Clock, exit_codes: list[int]
    ) -> None:
        create_job(options=OTHER)
        clock.advance(STALL_TIMEOUT + 1)
        runtime.heartbeat()
        without_own = list(exit_codes)
        create_job(options=OWN)
        clock.advance(STALL_TIMEOUT + 1)
        runtime.heartbeat()

        assert (without_own, exit_codes) == ([], [1])


class TestDraining:
    def test_a_stopping_worker_returns_the_jobs_that_the_model_has_not_begun_in_time(
        self, runtime: WorkerRuntime, captioner: FakeCaptioner, ledger: Ledger, create_job: MakeJob
    ) -> None:
        gate, image = Gate(captioner), prepared(runtime, captioner)
        first, second = create_job().id, create_job().id
        with runtime.claim_jobs() as claimed:
            for claim in claimed.claims:
                runtime.claims.attach(claim, runtime.batcher.submit(image))
                gate.wait_for_call()
            runtime.stopping.set()
            runtime.extend()
            in_time = ledger.counts()[Status.PROCESSING]
            assert runtime._return_at is not None
            runtime._return_at -= DRAIN_TIMEOUT
            runtime.extend()
            gate.open()

            returned = ledger.get(second)
            assert (in_time, ledger.get(first).status) == (2, Status.PROCESSING)
            assert (returned.status, returned.attempts) == (Status.QUEUED, 0)


class TestClose:
    def test_closing_releases_held_claims_and_notifies(
        self, runtime: WorkerRuntime, ledger: Ledger, claimed: Claim, notifications: Notifications
    ) -> None:
        with holding(runtime, claimed):
            with_timeout(runtime.close)

        waiting = ledger.get(claimed.id)
        assert (waiting.status, waiting.attempts) == (Status.QUEUED, 0)
        assert notifications.count() == 1

    def test_closing_keeps_ended_jobs(
        self, runtime: WorkerRuntime, ledger: Ledger, claimed: Claim, notifications: Notifications
    ) -> None:
        timings = Timings(queue_seconds=0.0, model_seconds=0.1, batch_size=1)
        with holding(runtime, claimed):
            commit(ledger, claimed, Output(caption="a ball"), model=MODEL, timings=timings)
            with_timeout(runtime.close)

        assert ledger.get(claimed.id).status is Status.SUCCEEDED
        assert notifications.count() == 0

    def test_closing_finishes_the_batcher_s_queue_and_rejects_new_items(
        self, runtime: WorkerRuntime, captioner: FakeCaptioner
    ) -> None:
        image = prepared(runtime, captioner)
        future = runtime.batcher.submit(image)
        with_timeout(runtime.close)

        assert future.done()
        with pytest.raises(Closed):
            runtime.batcher.submit(image)

    def test_a_closed_worker_is_not_alive(self, runtime: WorkerRuntime, workers: Workers) -> None:
        runtime.heartbeat()
        with_timeout(runtime.close)

        assert workers.alive() == []
        assert runtime.stopping.is_set()

    def test_closing_works_without_redis(
        self,
        runtime: WorkerRuntime,
        ledger: Ledger,
        claimed: Claim,
        server: fakeredis.FakeServer,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        with holding(runtime, claimed):
            server.connected = False
            with_timeout(runtime.close)
        server.connected = True

        assert "leases of this worker expire by themselves" in caplog.text
        assert ledger.get(claimed.id).status is Status.PROCESSING


class TestThreads:
    @pytest.fixture(autouse=True)
    def short_interval(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Set before the fixture `runtime` creates the threads."""
        monkeypatch.setattr(module, "HEARTBEAT_INTERVAL", 0.01)

    def test_a_started_worker_announces_itself_extends_leases_and_notifies(
        self,
        runtime: WorkerRuntime,
        workers: Workers,
        create_job: MakeJob,
        claimed: Claim,
        redis: Redis,
        clock: Clock,
        notifications: Notifications,
    ) -> None:
        create_job()
        clock.advance(20)
        with holding(runtime, claimed):
            runtime.start()

            eventually(workers.alive)
            eventually(lambda: redis.zscore("leases", claimed.id) == clock() + 30)
            eventually(notifications.count)
