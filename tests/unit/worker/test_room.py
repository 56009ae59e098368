"""Many jobs are worked on together; a suspected one has no company."""

from __future__ import annotations

import threading

from tests.unit.worker.fakes import PATIENCE, eventually
from worker.room import Room


class Guest:
    """A task that stays inside until it is told to leave."""

    def __init__(self, room: Room, *, alone: bool) -> None:
        self.inside, self._leave = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._visit, args=(room, alone), daemon=True)
        self._thread.start()

    def leave(self) -> None:
        self._leave.set()
        self._thread.join(PATIENCE)

    def _visit(self, room: Room, alone: bool) -> None:
        with room.entered(alone=alone):
            self.inside.set()
            self._leave.wait(PATIENCE)


def test_ordinary_jobs_share_the_room() -> None:
    room = Room()
    guests = [Guest(room, alone=False) for _ in range(3)]

    assert all(guest.inside.wait(PATIENCE) for guest in guests)
    for guest in guests:
        guest.leave()


def test_a_suspected_job_waits_for_the_others_and_they_for_it() -> None:
    room = Room()
    first = Guest(room, alone=False)
    assert first.inside.wait(PATIENCE)
    suspect = Guest(room, alone=True)
    eventually(lambda: room._want_it_alone)
    late = Guest(room, alone=False)

    assert not suspect.inside.wait(0.05)
    first.leave()
    assert suspect.inside.wait(PATIENCE)
    assert not late.inside.wait(0.05)
    suspect.leave()
    assert late.inside.wait(PATIENCE)
    late.leave()


def test_suspected_jobs_come_one_after_the_other() -> None:
    room = Room()
    waiting = {Guest(room, alone=True) for _ in range(3)}

    while waiting:
        eventually(lambda: any(suspect.inside.is_set() for suspect in waiting))
        (inside,) = [suspect for suspect in waiting if suspect.inside.is_set()]
        inside.leave()
        waiting.remove(inside)


def test_a_job_that_stumbles_leaves_the_room_to_others() -> None:
    room = Room()
    try:
        with room.entered(alone=True):
            raise ValueError
    except ValueError:
        pass

    guest = Guest(room, alone=True)
    assert guest.inside.wait(PATIENCE)
    guest.leave()
