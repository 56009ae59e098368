"""Many tasks hold the lock together; an exclusive one holds it alone."""

from __future__ import annotations

import threading

from tests.unit.worker.fakes import PATIENCE, eventually
from worker.lock import SharedExclusiveLock


class Task:
    """A task that holds the lock until it is told to leave."""

    def __init__(self, lock: SharedExclusiveLock, *, alone: bool) -> None:
        self.inside, self._leave = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._visit, args=(lock, alone), daemon=True)
        self._thread.start()

    def leave(self) -> None:
        self._leave.set()
        self._thread.join(PATIENCE)

    def _visit(self, lock: SharedExclusiveLock, alone: bool) -> None:
        with lock.exclusive() if alone else lock.shared():
            self.inside.set()
            self._leave.wait(PATIENCE)


def test_ordinary_jobs_share_the_lock() -> None:
    lock = SharedExclusiveLock()
    tasks = [Task(lock, alone=False) for _ in range(3)]

    assert all(task.inside.wait(PATIENCE) for task in tasks)
    for task in tasks:
        task.leave()


def test_a_suspected_job_waits_for_the_others_and_they_for_it() -> None:
    lock = SharedExclusiveLock()
    first = Task(lock, alone=False)
    assert first.inside.wait(PATIENCE)
    suspect = Task(lock, alone=True)
    eventually(lambda: lock._waiting_exclusive)
    late = Task(lock, alone=False)

    assert not suspect.inside.wait(0.05)
    first.leave()
    assert suspect.inside.wait(PATIENCE)
    assert not late.inside.wait(0.05)
    suspect.leave()
    assert late.inside.wait(PATIENCE)
    late.leave()


def test_suspected_jobs_come_one_after_the_other() -> None:
    lock = SharedExclusiveLock()
    waiting = {Task(lock, alone=True) for _ in range(3)}

    while waiting:
        eventually(lambda: any(suspect.inside.is_set() for suspect in waiting))
        (inside,) = [suspect for suspect in waiting if suspect.inside.is_set()]
        inside.leave()
        waiting.remove(inside)


def test_a_job_that_stumbles_lets_go_of_the_lock() -> None:
    lock = SharedExclusiveLock()
    try:
        with lock.exclusive():
            raise ValueError
    except ValueError:
        pass

    task = Task(lock, alone=True)
    assert task.inside.wait(PATIENCE)
    task.leave()
