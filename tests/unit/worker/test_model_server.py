"""A worker whose model is a server's: concurrent requests, and no jobs while the server is unavailable."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from captioning.captioner import ModelUnavailable
from common.jobs import Job, Output, Status, new_id
from common.ledger import Ledger, Workers
from common.logs import Subject
from common.translation import Message
from tests.support.clock import Clock
from tests.support.images import encoded
from tests.unit.worker.fakes import TIMEOUT, FakeCaptioner, Notifications, eventually, with_timeout
from worker.batcher import Closed
from worker.runtime import DRAIN_TIMEOUT, STALL_TIMEOUT, WorkerRuntime

MakeJob = Callable[..., Job]
RunTask = Callable[..., None]

BUSY = Message("The model's server is busy.")


class FakeServer:
    """A server whose state is set by the test."""

    def __init__(self) -> None:
        self.unavailable: Message | None = None
        self.checks = 0
        self.closed = threading.Event()

    def check(self) -> None:
        self.checks += 1

    def close(self) -> None:
        self.closed.set()


@pytest.fixture
def model_server() -> FakeServer:
    return FakeServer()


@pytest.fixture
def captioner(model_server: FakeServer) -> FakeCaptioner:
    captioner = FakeCaptioner()
    captioner.server = model_server
    return captioner


@pytest.fixture
def full(model_server: FakeServer, captioner: FakeCaptioner) -> None:
    """The server becomes unavailable with the first picture."""

    def refuse() -> None:
        model_server.unavailable = BUSY
        raise ModelUnavailable(BUSY)

    captioner.on_caption = refuse


def test_pictures_are_asked_for_one_by_one_but_several_at_a_time(
    runtime: WorkerRuntime, captioner: FakeCaptioner, create_job: MakeJob, run_task: RunTask
) -> None:
    together = threading.Barrier(runtime.settings.max_batch, timeout=TIMEOUT)
    captioner.on_caption = lambda: together.wait() and None
    for _ in range(2 * runtime.settings.max_batch):
        create_job()
    run_task()

    assert captioner.calls == [1] * 2 * runtime.settings.max_batch


@pytest.mark.usefixtures("full")
def test_jobs_in_hand_go_back_without_losing_an_attempt(
    runtime: WorkerRuntime, ledger: Ledger, notifications: Notifications, create_job: MakeJob, run_task: RunTask
) -> None:
    jobs = [create_job() for _ in range(3)]
    run_task()

    waiting = ledger.read([job.id for job in jobs])
    assert [(job.status, job.attempts) for job in waiting] == [(Status.QUEUED, 0)] * 3
    assert list(runtime.claims) == []
    assert notifications.count() > 0  # another worker may have another server


def test_an_unavailable_server_gets_no_jobs_until_it_answers(
    runtime: WorkerRuntime, model_server: FakeServer, ledger: Ledger, create_job: MakeJob, run_task: RunTask
) -> None:
    job = create_job()
    model_server.unavailable = BUSY
    run_task()
    before = ledger.get(job.id).status
    model_server.unavailable = None
    run_task()

    assert (before, ledger.get(job.id).status) == (Status.QUEUED, Status.SUCCEEDED)


def test_a_worker_says_why_it_claims_nothing(
    runtime: WorkerRuntime, model_server: FakeServer, workers: Workers
) -> None:
    runtime.heartbeat()
    (working,) = workers.alive()
    model_server.unavailable = BUSY
    runtime.heartbeat()
    (waiting,) = workers.alive()

    assert (working.unavailable, waiting.unavailable) == (None, BUSY)


def test_a_worker_with_an_unavailable_server_has_not_stalled(
    runtime: WorkerRuntime,
    model_server: FakeServer,
    create_job: MakeJob,
    run_task: RunTask,
    clock: Clock,
    exit_codes: list[int],
) -> None:
    create_job()
    model_server.unavailable = BUSY
    for _ in range(3):
        clock.advance(STALL_TIMEOUT / 2)
        run_task()  # the recovery notifies every second
        runtime.heartbeat()

    assert exit_codes == []


def test_the_server_is_asked_again_in_a_thread_of_its_own(runtime: WorkerRuntime, model_server: FakeServer) -> None:
    runtime.check_server()

    assert model_server.checks == 1


def test_a_picture_of_a_chunk_waits_for_the_server(
    runtime: WorkerRuntime, model_server: FakeServer, captioner: FakeCaptioner, monkeypatch: pytest.MonkeyPatch
) -> None:
    tries = iter([True, True, False])

    def refuse_twice() -> None:
        if next(tries):
            raise ModelUnavailable(BUSY)

    captioner.on_caption = refuse_twice
    monkeypatch.setattr(runtime.stopping, "wait", lambda seconds: None)

    result = with_timeout(lambda: runtime._caption_bytes(encoded(), None, Subject(new_id())))

    assert isinstance(result, Output) and len(captioner.calls) == 3


@pytest.mark.usefixtures("full")
def test_a_picture_of_a_chunk_stops_waiting_at_shutdown(runtime: WorkerRuntime, model_server: FakeServer) -> None:
    def stop() -> None:
        eventually(lambda: model_server.unavailable)
        runtime.stopping.set()

    threading.Thread(target=stop).start()

    with pytest.raises(Closed):
        with_timeout(lambda: runtime._caption_bytes(encoded(), None, Subject(new_id())))


def test_requests_in_progress_end_when_the_worker_has_been_stopping_for_long(
    runtime: WorkerRuntime,
    model_server: FakeServer,
    captioner: FakeCaptioner,
    ledger: Ledger,
    create_job: MakeJob,
    run_task: RunTask,
    clock: Clock,
) -> None:
    asked = threading.Event()

    def until_closed() -> None:
        asked.set()
        assert model_server.closed.wait(TIMEOUT)
        raise ModelUnavailable(BUSY)

    captioner.on_caption = until_closed
    job = create_job()
    task = threading.Thread(target=run_task)
    task.start()
    assert asked.wait(TIMEOUT)
    runtime.stopping.set()
    runtime.extend()
    early = model_server.closed.is_set()
    clock.advance(DRAIN_TIMEOUT)
    runtime.extend()
    task.join(TIMEOUT)

    waiting = ledger.get(job.id)
    assert (early, waiting.status, waiting.attempts) == (False, Status.QUEUED, 0)
