"""The shared/exclusive lock."""

from __future__ import annotations

import threading

from tests.unit.worker.fakes import TIMEOUT, eventually
from worker.lock import SharedExclusiveLock


class Task:
    """A thread that holds the lock until `release`."""

    def __init__(self, lock: SharedExclusiveLock, *, exclusive: bool) -> None:
        self.acquired, self._released = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, args=(lock, exclusive), daemon=True)
        self._thread.start()

    def release(self) -> None:
        self._released.set()
        self._thread.join(TIMEOUT)

    def _run(self, lock: SharedExclusiveLock, exclusive: bool) -> None:
        with lock.exclusive() if exclusive else lock.shared():
            self.acquired.set()
            self._released.wait(TIMEOUT)


def test_normal_jobs_share_the_lock() -> None:
    lock = SharedExclusiveLock()
    tasks = [Task(lock, exclusive=False) for _ in range(3)]

    assert all(task.acquired.wait(TIMEOUT) for task in tasks)
    for task in tasks:
        task.release()


def test_a_suspect_waits_for_shared_holders_and_blocks_new_ones() -> None:
    lock = SharedExclusiveLock()
    first = Task(lock, exclusive=False)
    assert first.acquired.wait(TIMEOUT)
    suspect = Task(lock, exclusive=True)
    eventually(lambda: lock._waiting_exclusive)
    late = Task(lock, exclusive=False)

    assert not suspect.acquired.wait(0.05)
    first.release()
    assert suspect.acquired.wait(TIMEOUT)
    assert not late.acquired.wait(0.05)
    suspect.release()
    assert late.acquired.wait(TIMEOUT)
    late.release()


def test_suspects_hold_the_lock_one_at_a_time() -> None:
    lock = SharedExclusiveLock()
    waiting = {Task(lock, exclusive=True) for _ in range(3)}

    while waiting:
        eventually(lambda: any(suspect.acquired.is_set() for suspect in waiting))
        (holder,) = [suspect for suspect in waiting if suspect.acquired.is_set()]
        holder.release()
        waiting.remove(holder)


def test_an_exception_releases_the_lock() -> None:
    lock = SharedExclusiveLock()
    try:
        with lock.exclusive():
            raise ValueError
    except ValueError:
        pass

    task = Task(lock, exclusive=True)
    assert task.acquired.wait(TIMEOUT)
    task.release()
