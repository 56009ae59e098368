"""Workers are killed, paused, replaced and poisoned; what was accepted is captioned once, and as if undisturbed."""

from __future__ import annotations

import random
import signal
import time

import pytest

from common.jobs import Status
from tests.chaos.conftest import MANY
from tests.support.audit import Account
from tests.support.images import drawing, encoded
from tests.support.processes import Parts, Process, kill
from tests.support.service import wait_until


def wait_for_captions(account: Account, more: int) -> None:
    """Wait until so many more are there."""
    goal = account.look()[Status.SUCCEEDED] + more
    wait_until(lambda: account.look()[Status.SUCCEEDED] >= min(goal, len(account.accepted)), account.look)


def tend(parts: Parts, account: Account, worker: Process, app: str = "worker") -> int:
    """Start a worker that has ended again, as a supervisor does, until nothing is open; how often it ended."""
    ends, deadline = 0, time.monotonic() + 300
    while not account.settled():
        assert time.monotonic() < deadline, account.look()
        if worker.poll() is not None:
            ends += 1
            worker = parts.start_worker(app)
        time.sleep(0.1)
    return ends


def test_a_worker_that_is_killed_twenty_times(parts: Parts, pictures: list[bytes], undisturbed: dict[str, str]) -> None:
    _, _, worker = parts.start_all()
    account, chance = parts.account(), random.Random(1)
    account.send(pictures)
    for _ in range(20):
        wait_for_captions(account, 8)
        time.sleep(chance.uniform(0, 0.5))
        kill(worker)
        worker = parts.start_worker()
        parts.wait_working(worker)

    outcome = account.close("worker SIGKILLed 20 times", undisturbed)
    assert outcome.kept and outcome.succeeded == MANY
    assert max(job.attempts for job in account.jobs()) > 1


@pytest.mark.parametrize("place", ["prepare", "caption"])
def test_a_picture_that_ends_its_worker_fails_alone(
    parts: Parts, pictures: list[bytes], undisturbed: dict[str, str], place: str
) -> None:
    parts.start_redis()
    parts.start_web()
    parts.wait_serving()
    account = parts.account()
    poison = encoded(drawing("black", (8, 8)).point(lambda _: 0))
    account.send([*pictures[:20], poison, *pictures[20:40]])
    parts.environment["POISON"] = place
    app = "tests.chaos.hooks.poisoned"
    deaths = tend(parts, account, parts.start_worker(app), app)

    outcome = account.close(f"a picture that ends the worker ({place})", undisturbed)
    assert outcome.kept and (outcome.succeeded, dict(outcome.failed)) == (40, {"worker-lost": 1})
    assert deaths == parts.settings.max_attempts
    failed, others = (
        [job.attempts for job in account.jobs() if (job.status is Status.FAILED) is wanted] for wanted in (True, False)
    )
    assert failed == [parts.settings.max_attempts]
    assert max(others) <= 2


def test_a_worker_that_is_paused_past_its_lease(
    parts: Parts, pictures: list[bytes], undisturbed: dict[str, str]
) -> None:
    _, _, sleeper = parts.start_all()
    account = parts.account()
    account.send(pictures[:250])
    wait_for_captions(account, 20)
    sleeper.send_signal(signal.SIGSTOP)
    assert account.look()[Status.PROCESSING]
    parts.start_worker()
    wait_until(account.settled, account.look)
    sleeper.send_signal(signal.SIGCONT)
    wait_until(lambda: "A result came too late" in parts.log(), parts.log)

    outcome = account.close("worker paused past its lease", undisturbed)
    assert outcome.kept and outcome.succeeded == 250


def test_a_rolling_restart_under_load(parts: Parts, pictures: list[bytes], undisturbed: dict[str, str]) -> None:
    _, _, old = parts.start_all()
    account = parts.account()
    account.send(pictures[:250])
    for _ in range(3):
        new = parts.start_worker()
        parts.wait_working(new)
        old.terminate()
        assert old.wait(60) == 0
        old = new
        account.send(pictures[250:300])

    outcome = account.close("rolling restart of workers", undisturbed)
    assert outcome.kept and outcome.succeeded == 400
    assert {job.attempts for job in account.jobs() if not job.cached} == {1}
