"""Workers are killed, paused and replaced: accepted jobs get the captions of an undisturbed run, exactly once."""

from __future__ import annotations

import random
import signal
import time

import pytest

from common.jobs import Status
from tests.chaos.conftest import LARGE_RUN_IMAGES
from tests.support.audit import Account
from tests.support.images import drawing, encoded
from tests.support.processes import Parts, Process, kill
from tests.support.service import wait_until


def wait_for_captions(account: Account, more: int) -> None:
    """Wait for `more` further captions, or for all."""
    goal = account.look()[Status.SUCCEEDED] + more
    wait_until(lambda: account.look()[Status.SUCCEEDED] >= min(goal, len(account.accepted)), account.look)


def supervise(parts: Parts, account: Account, worker: Process, app: str = "worker") -> int:
    """Restart the worker when it exits, until no job is open; returns the number of exits."""
    exits, deadline = 0, time.monotonic() + 300
    while not account.settled():
        assert time.monotonic() < deadline, account.look()
        if worker.poll() is not None:
            exits += 1
            worker = parts.start_worker(app)
        time.sleep(0.1)
    return exits


def test_jobs_survive_a_worker_killed_twenty_times(
    parts: Parts, images: list[bytes], undisturbed: dict[str, str]
) -> None:
    _, _, worker = parts.start_all()
    account, rng = parts.account(), random.Random(1)
    account.send(images)
    for _ in range(20):
        wait_for_captions(account, 8)
        time.sleep(rng.uniform(0, 0.5))
        kill(worker)
        worker = parts.start_worker()
        parts.wait_working(worker)

    outcome = account.close("worker SIGKILLed 20 times", undisturbed)
    assert outcome.kept and outcome.succeeded == LARGE_RUN_IMAGES
    assert max(job.attempts for job in account.jobs()) > 1


@pytest.mark.parametrize("step", ["prepare", "caption"])
def test_an_image_that_ends_its_worker_fails_alone(
    parts: Parts, images: list[bytes], undisturbed: dict[str, str], step: str
) -> None:
    parts.start_redis()
    parts.start_web()
    parts.wait_serving()
    account = parts.account()
    poison = encoded(drawing("black", (8, 8)).point(lambda _: 0))
    account.send([*images[:20], poison, *images[20:40]])
    parts.environment["POISON"] = step
    app = "tests.chaos.hooks.poisoned"
    exits = supervise(parts, account, parts.start_worker(app), app)

    outcome = account.close(f"a picture that ends the worker ({step})", undisturbed)
    assert outcome.kept and (outcome.succeeded, dict(outcome.failed)) == (40, {"worker-lost": 1})
    assert exits == parts.settings.max_attempts
    failed, others = (
        [job.attempts for job in account.jobs() if (job.status is Status.FAILED) is expected]
        for expected in (True, False)
    )
    assert failed == [parts.settings.max_attempts]
    assert max(others) <= 2


def test_a_worker_paused_past_its_lease_overwrites_nothing(
    parts: Parts, images: list[bytes], undisturbed: dict[str, str]
) -> None:
    _, _, paused = parts.start_all()
    account = parts.account()
    account.send(images[:250])
    wait_for_captions(account, 20)
    paused.send_signal(signal.SIGSTOP)
    assert account.look()[Status.PROCESSING]
    parts.start_worker()
    wait_until(account.settled, account.look)
    paused.send_signal(signal.SIGCONT)
    wait_until(lambda: "A result is discarded" in parts.log(), parts.log)

    outcome = account.close("worker paused past its lease", undisturbed)
    assert outcome.kept and outcome.succeeded == 250


def test_jobs_survive_a_rolling_restart_under_load(
    parts: Parts, images: list[bytes], undisturbed: dict[str, str]
) -> None:
    _, _, old = parts.start_all()
    account = parts.account()
    account.send(images[:250])
    for _ in range(3):
        new = parts.start_worker()
        parts.wait_working(new)
        old.terminate()
        assert old.wait(60) == 0
        old = new
        account.send(images[250:300])

    outcome = account.close("rolling restart of workers", undisturbed)
    assert outcome.kept and outcome.succeeded == 400
    assert {job.attempts for job in account.jobs() if not job.cached} == {1}
