"""Workers are killed, paused and replaced: accepted jobs get the captions of an undisturbed run, exactly once."""

from __future__ import annotations

import random
import signal
import time

import pytest
import yaml

from benchmarks.processes import Process, kill
from common.jobs import Status
from common.settings import PROJECT_ROOT
from tests.chaos.runs import LARGE_RUN_IMAGES
from tests.support.audit import JobAudit
from tests.support.images import drawing, encoded
from tests.support.processes import ServiceProcesses
from tests.support.service import wait_until


def wait_for_captions(audit: JobAudit, more: int) -> None:
    """Wait for `more` further captions, or for all."""
    goal = audit.counts()[Status.SUCCEEDED] + more
    wait_until(lambda: audit.counts()[Status.SUCCEEDED] >= min(goal, len(audit.accepted)), audit.counts)


def supervise(processes: ServiceProcesses, audit: JobAudit, worker: Process, app: str = "worker") -> int:
    """Restart the worker when it exits, until no job is open; returns the number of exits."""
    exits, deadline = 0, time.monotonic() + 300
    while not audit.settled():
        assert time.monotonic() < deadline, audit.counts()
        if worker.poll() is not None:
            exits += 1
            worker = processes.start_worker(app)
        time.sleep(0.1)
    return exits


def test_jobs_survive_a_worker_killed_twenty_times(
    processes: ServiceProcesses, images: list[bytes], undisturbed: dict[str, str]
) -> None:
    _, _, worker = processes.start_all()
    audit, rng = processes.audit(), random.Random(1)
    audit.send(images)
    for _ in range(20):
        wait_for_captions(audit, 8)
        time.sleep(rng.uniform(0, 0.5))
        kill(worker)
        worker = processes.start_worker()
        processes.wait_for_worker(worker)

    outcome = audit.finish("worker SIGKILLed 20 times", undisturbed)
    assert outcome.ok and outcome.succeeded == LARGE_RUN_IMAGES
    assert max(job.attempts for job in audit.jobs()) > 1


@pytest.mark.parametrize("step", ["prepare", "caption"])
def test_an_image_that_ends_its_worker_fails_alone(
    processes: ServiceProcesses, images: list[bytes], undisturbed: dict[str, str], step: str
) -> None:
    processes.start_redis()
    processes.start_web()
    processes.wait_for_web()
    audit = processes.audit()
    poison = encoded(drawing("black", (8, 8)).point(lambda _: 0))
    audit.send([*images[:20], poison, *images[20:40]])
    processes.environment["POISON"] = step
    app = "tests.chaos.hooks.poisoned"
    exits = supervise(processes, audit, processes.start_worker(app), app)

    outcome = audit.finish(f"a picture that ends the worker ({step})", undisturbed)
    assert outcome.ok and (outcome.succeeded, dict(outcome.failed)) == (40, {"worker-lost": 1})
    assert exits == processes.settings.max_attempts
    failed, others = (
        [job.attempts for job in audit.jobs() if (job.status is Status.FAILED) is expected]
        for expected in (True, False)
    )
    assert failed == [processes.settings.max_attempts]
    assert max(others) <= 2


def test_a_worker_paused_past_its_lease_overwrites_nothing(
    processes: ServiceProcesses, images: list[bytes], undisturbed: dict[str, str]
) -> None:
    _, _, paused = processes.start_all()
    audit = processes.audit()
    audit.send(images[:250])
    wait_for_captions(audit, 20)
    paused.send_signal(signal.SIGSTOP)
    assert audit.counts()[Status.PROCESSING]
    processes.start_worker()
    wait_until(audit.settled, audit.counts)
    paused.send_signal(signal.SIGCONT)
    wait_until(lambda: "A result is discarded" in processes.log(), processes.log)

    outcome = audit.finish("worker paused past its lease", undisturbed)
    assert outcome.ok and outcome.succeeded == 250


def test_jobs_survive_a_rolling_restart_under_load(
    processes: ServiceProcesses, images: list[bytes], undisturbed: dict[str, str]
) -> None:
    _, _, old = processes.start_all()
    audit = processes.audit()
    audit.send(images[:250])
    for _ in range(3):
        new = processes.start_worker()
        processes.wait_for_worker(new)
        old.terminate()
        assert old.wait(60) == 0
        old = new
        audit.send(images[250:300])

    outcome = audit.finish("rolling restart of workers", undisturbed)
    assert outcome.ok and outcome.succeeded == 400
    assert {job.attempts for job in audit.jobs() if not job.cached} == {1}


def test_a_busy_worker_ends_within_the_grace_period_and_returns_its_jobs(
    processes: ServiceProcesses, images: list[bytes], undisturbed: dict[str, str]
) -> None:
    manifest = (PROJECT_ROOT / "deploy" / "kubernetes" / "base" / "worker.yaml").read_text()
    pod = next(yaml.safe_load_all(manifest))["spec"]["template"]["spec"]
    processes.start_redis()
    processes.start_web()
    worker = processes.start_worker("tests.chaos.hooks.slow_model")
    processes.wait_ready()
    audit = processes.audit()
    audit.send(images[:60])
    wait_until(lambda: audit.counts()[Status.PROCESSING] >= 4 * processes.settings.max_batch, audit.counts)

    worker.terminate()
    assert worker.wait(pod["terminationGracePeriodSeconds"]) == 0
    after = audit.counts()
    processes.start_worker()

    assert after[Status.PROCESSING] == 0 and after[Status.QUEUED] > 0
    outcome = audit.finish("a busy worker stopped with SIGTERM", undisturbed)
    assert outcome.ok and outcome.succeeded == 60
    assert {job.attempts for job in audit.jobs()} == {1}
