"""Workers are killed, paused, replaced and poisoned; what was accepted is captioned once, and as if undisturbed."""

from __future__ import annotations

import random
import signal
import time

import pytest

from common.jobs import Status
from tests.chaos.runs import MANY
from tests.support.audit import JobAudit
from tests.support.images import drawing, encoded
from tests.support.processes import Process, ServiceProcesses, kill
from tests.support.service import wait_until


def wait_for_captions(audit: JobAudit, more: int) -> None:
    """Wait until so many more are there."""
    goal = audit.counts()[Status.SUCCEEDED] + more
    wait_until(lambda: audit.counts()[Status.SUCCEEDED] >= min(goal, len(audit.accepted)), audit.counts)


def tend(processes: ServiceProcesses, audit: JobAudit, worker: Process, app: str = "worker") -> int:
    """Start a worker that has ended again, as a supervisor does, until nothing is open; how often it ended."""
    ends, deadline = 0, time.monotonic() + 300
    while not audit.settled():
        assert time.monotonic() < deadline, audit.counts()
        if worker.poll() is not None:
            ends += 1
            worker = processes.start_worker(app)
        time.sleep(0.1)
    return ends


def test_a_worker_that_is_killed_twenty_times(
    processes: ServiceProcesses, pictures: list[bytes], undisturbed: dict[str, str]
) -> None:
    _, _, worker = processes.start_all()
    audit, chance = processes.audit(), random.Random(1)
    audit.send(pictures)
    for _ in range(20):
        wait_for_captions(audit, 8)
        time.sleep(chance.uniform(0, 0.5))
        kill(worker)
        worker = processes.start_worker()
        processes.wait_for_worker(worker)

    outcome = audit.finish("worker SIGKILLed 20 times", undisturbed)
    assert outcome.ok and outcome.succeeded == MANY
    assert max(job.attempts for job in audit.jobs()) > 1


@pytest.mark.parametrize("place", ["prepare", "caption"])
def test_a_picture_that_ends_its_worker_fails_alone(
    processes: ServiceProcesses, pictures: list[bytes], undisturbed: dict[str, str], place: str
) -> None:
    processes.start_redis()
    processes.start_web()
    processes.wait_for_web()
    audit = processes.audit()
    poison = encoded(drawing("black", (8, 8)).point(lambda _: 0))
    audit.send([*pictures[:20], poison, *pictures[20:40]])
    processes.environment["POISON"] = place
    app = "tests.chaos.hooks.poisoned"
    deaths = tend(processes, audit, processes.start_worker(app), app)

    outcome = audit.finish(f"a picture that ends the worker ({place})", undisturbed)
    assert outcome.ok and (outcome.succeeded, dict(outcome.failed)) == (40, {"worker-lost": 1})
    assert deaths == processes.settings.max_attempts
    failed, others = (
        [job.attempts for job in audit.jobs() if (job.status is Status.FAILED) is wanted] for wanted in (True, False)
    )
    assert failed == [processes.settings.max_attempts]
    assert max(others) <= 2


def test_a_worker_that_is_paused_past_its_lease(
    processes: ServiceProcesses, pictures: list[bytes], undisturbed: dict[str, str]
) -> None:
    _, _, sleeper = processes.start_all()
    audit = processes.audit()
    audit.send(pictures[:250])
    wait_for_captions(audit, 20)
    sleeper.send_signal(signal.SIGSTOP)
    assert audit.counts()[Status.PROCESSING]
    processes.start_worker()
    wait_until(audit.settled, audit.counts)
    sleeper.send_signal(signal.SIGCONT)
    wait_until(lambda: "A result came too late" in processes.log(), processes.log)

    outcome = audit.finish("worker paused past its lease", undisturbed)
    assert outcome.ok and outcome.succeeded == 250


def test_a_rolling_restart_under_load(
    processes: ServiceProcesses, pictures: list[bytes], undisturbed: dict[str, str]
) -> None:
    _, _, old = processes.start_all()
    audit = processes.audit()
    audit.send(pictures[:250])
    for _ in range(3):
        new = processes.start_worker()
        processes.wait_for_worker(new)
        old.terminate()
        assert old.wait(60) == 0
        old = new
        audit.send(pictures[250:300])

    outcome = audit.finish("rolling restart of workers", undisturbed)
    assert outcome.ok and outcome.succeeded == 400
    assert {job.attempts for job in audit.jobs() if not job.cached} == {1}
