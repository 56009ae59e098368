"""A worker says that it lives, keeps what it works on, and leaves nothing behind when it goes."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import SimpleNamespace

import fakeredis
import pytest
from redis import ConnectionError, Redis

from common.jobs import Job, Output, Status, Timings
from common.ledger import Claim, Ledger, Worker, Workers
from common.ledger.submission import SCHEMA
from common.queue import CLAIM_SIZE
from tests.support.clock import Clock
from tests.support.images import drawing, encoded
from tests.unit.worker.fakes import MODEL, PATIENCE, FakeCaptioner, Notifications, eventually, in_time
from worker import runtime as module
from worker.batcher import Closed
from worker.runtime import RECOVERY_NOTIFICATIONS, SILENT_AFTER, STALLED_AFTER, WorkerRuntime

MakeJob = Callable[..., Job]


@pytest.fixture
def claimed(wait_in: MakeJob, ledger: Ledger) -> Claim:
    wait_in()
    (claim,) = ledger.claim_next(1).claims
    return claim


@contextmanager
def holding(runtime: WorkerRuntime, claim: Claim) -> Iterator[None]:
    """The worker works on this claim."""
    runtime._hold([claim])
    try:
        yield
    finally:
        runtime.let_go([claim])


class TestBeat:
    def test_it_announces_the_worker_with_its_model(self, runtime: WorkerRuntime, workers: Workers) -> None:
        before = workers.alive()
        runtime.beat()

        (worker,) = workers.alive()
        assert before == []
        assert (worker.model, worker.pictures_per_second, worker.ledger_schema) == (MODEL, None, SCHEMA)

    def test_it_announces_the_measured_speed(
        self, runtime: WorkerRuntime, captioner: FakeCaptioner, workers: Workers
    ) -> None:
        runtime.batcher.submit(captioner.prepare(encoded(drawing()))).result(PATIENCE)
        runtime.beat()

        (worker,) = workers.alive()
        assert worker.pictures_per_second == runtime.batcher.items_per_second is not None


class TestStalling:
    def test_a_worker_that_gets_no_notification_though_jobs_wait_gives_up(
        self, runtime: WorkerRuntime, wait_in: MakeJob, clock: Clock, given_up: list[int]
    ) -> None:
        wait_in()
        clock.advance(STALLED_AFTER)
        runtime.beat()
        patient = list(given_up)
        clock.advance(1)
        runtime.beat()

        assert (patient, given_up) == ([], [1])

    def test_a_worker_whose_broker_is_away_waits_for_it(
        self,
        runtime: WorkerRuntime,
        wait_in: MakeJob,
        clock: Clock,
        given_up: list[int],
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        wait_in()
        broker = SimpleNamespace(here=False)
        monkeypatch.setattr(module, "is_broker_reachable", lambda celery: broker.here)
        for _ in range(100):
            clock.advance(1)
            runtime.beat()
        broker.here = True
        clock.advance(STALLED_AFTER - SILENT_AFTER)
        runtime.beat()
        patient = list(given_up)
        clock.advance(SILENT_AFTER + 1)
        runtime.beat()

        assert (patient, given_up) == ([], [1])

    def test_an_idle_worker_lives_on_and_its_idleness_does_not_count(
        self, runtime: WorkerRuntime, wait_in: MakeJob, clock: Clock, given_up: list[int]
    ) -> None:
        clock.advance(10 * STALLED_AFTER)
        runtime.beat()
        wait_in()
        clock.advance(STALLED_AFTER)
        runtime.beat()

        assert given_up == []

    def test_a_worker_that_holds_a_job_has_not_stalled(
        self, runtime: WorkerRuntime, wait_in: MakeJob, claimed: Claim, clock: Clock, given_up: list[int]
    ) -> None:
        wait_in()
        with holding(runtime, claimed):
            clock.advance(10 * STALLED_AFTER)
            runtime.beat()
            clock.advance(10 * STALLED_AFTER)
        runtime.beat()

        assert given_up == []

    def test_a_worker_that_stops_has_not_stalled(
        self, runtime: WorkerRuntime, wait_in: MakeJob, clock: Clock, given_up: list[int]
    ) -> None:
        wait_in()
        runtime.stopping.set()
        clock.advance(10 * STALLED_AFTER)
        runtime.beat()

        assert given_up == []


class TestLeases:
    def test_what_is_held_stays_the_worker_s(
        self, runtime: WorkerRuntime, ledger: Ledger, claimed: Claim, clock: Clock
    ) -> None:
        with holding(runtime, claimed):
            clock.advance(25)
            runtime.extend()
            clock.advance(25)
            runtime.recover()

        assert ledger.get(claimed.id).status is Status.PROCESSING

    def test_what_is_not_held_any_more_is_not_extended(
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

    def test_a_job_whose_work_stumbles_is_let_go(self, runtime: WorkerRuntime, claimed: Claim) -> None:
        with pytest.raises(ValueError), holding(runtime, claimed):
            assert runtime.held() == [claimed]
            raise ValueError

        assert runtime.held() == []


class TestNotifications:
    def test_waiting_jobs_are_notified_of_again_but_not_beyond_what_no_worker_has_taken(
        self, runtime: WorkerRuntime, wait_in: MakeJob, notifications: Notifications, redis: Redis
    ) -> None:
        for _ in range(RECOVERY_NOTIFICATIONS * CLAIM_SIZE + 1):
            wait_in()
        for _ in range(3):
            redis.delete("recovering")  # its expiry follows the real clock
            runtime.recover()

        assert notifications.count() == RECOVERY_NOTIFICATIONS

    def test_a_broker_that_is_away_is_asked_again_after_a_pause(
        self, runtime: WorkerRuntime, wait_in: MakeJob, redis: Redis, clock: Clock, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        asked = []

        def refuse(celery: object, jobs: int) -> bool:
            asked.append(clock())
            return False

        monkeypatch.setattr(module, "notify", refuse)
        wait_in()
        began = clock()
        for _ in range(12):
            redis.delete("recovering")
            runtime.recover()
            clock.advance(1)

        assert [at - began for at in asked] == [0, 5, 10]


class TestClose:
    def test_what_is_not_done_is_handed_back_and_notified_of(
        self, runtime: WorkerRuntime, ledger: Ledger, claimed: Claim, notifications: Notifications
    ) -> None:
        with holding(runtime, claimed):
            in_time(runtime.close)

        waiting = ledger.get(claimed.id)
        assert (waiting.status, waiting.attempts) == (Status.QUEUED, 0)
        assert notifications.count() == 1

    def test_what_is_done_stays_done(
        self, runtime: WorkerRuntime, ledger: Ledger, claimed: Claim, notifications: Notifications
    ) -> None:
        timings = Timings(queue_seconds=0.0, model_seconds=0.1, batch_size=1)
        with holding(runtime, claimed):
            ledger.commit(claimed, Output(caption="a ball"), model=MODEL, timings=timings)
            in_time(runtime.close)

        assert ledger.get(claimed.id).status is Status.SUCCEEDED
        assert notifications.count() == 0

    def test_what_is_in_the_batcher_is_finished_and_nothing_more_is_taken(
        self, runtime: WorkerRuntime, captioner: FakeCaptioner
    ) -> None:
        pixels = captioner.prepare(encoded(drawing()))
        future = runtime.batcher.submit(pixels)
        in_time(runtime.close)

        assert future.done()
        with pytest.raises(Closed):
            runtime.batcher.submit(pixels)

    def test_the_worker_is_ready_no_longer(self, runtime: WorkerRuntime, workers: Workers) -> None:
        runtime.beat()
        in_time(runtime.close)

        assert workers.alive() == []
        assert runtime.stopping.is_set()

    def test_without_redis_it_leaves_all_the_same(
        self,
        runtime: WorkerRuntime,
        ledger: Ledger,
        claimed: Claim,
        server: fakeredis.FakeServer,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        with holding(runtime, claimed):
            server.connected = False
            in_time(runtime.close)
        server.connected = True

        assert "leases will run out by themselves" in caplog.text
        assert ledger.get(claimed.id).status is Status.PROCESSING


class TestThreads:
    @pytest.fixture(autouse=True)
    def quick(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The threads are made by the fixture `runtime`, which comes after this one."""
        monkeypatch.setattr(module, "HEARTBEAT", 0.01)

    def test_a_started_worker_announces_extends_and_recovers(
        self,
        runtime: WorkerRuntime,
        workers: Workers,
        wait_in: MakeJob,
        claimed: Claim,
        redis: Redis,
        clock: Clock,
        notifications: Notifications,
    ) -> None:
        wait_in()
        clock.advance(20)
        with holding(runtime, claimed):
            runtime.start()

            eventually(workers.alive)
            eventually(lambda: redis.zscore("leases", claimed.id) == clock() + 30)
            eventually(notifications.count)

    @pytest.mark.parametrize(
        ("error", "level", "lines"),
        [(ConnectionError("away"), logging.WARNING, 1), (ValueError("odd"), logging.ERROR, 5)],
    )
    def test_the_heart_beats_on_after_errors_and_an_outage_is_one_line(
        self,
        runtime: WorkerRuntime,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
        error: Exception,
        level: int,
        lines: int,
    ) -> None:
        trouble, announced = [error] * 5, threading.Event()

        def announce(self: Workers, worker: Worker) -> None:
            if trouble:
                raise trouble.pop()
            announced.set()

        monkeypatch.setattr(Workers, "announce", announce)
        runtime.start()

        assert announced.wait(PATIENCE)
        said = [record.levelno for record in caplog.records if record.threadName == "heartbeat"]
        assert said == [level] * lines
