"""SIGTERM, which schedulers send before they kill, and Ctrl-C: a run ends after its step, with everything saved."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

#: The signals that ask a run to end.
SIGNALS = (signal.SIGTERM, signal.SIGINT)
#: Seconds after the first signal for which further ones are taken for the same request: a scheduler signals every
#: process of a job, and torchrun passes the signal on that it has received itself.
GRACE = 10.0
_STDERR = 2


class Stop:
    """Whether the run was asked to end, and whether it has begun to train, so that there may be something to save."""

    asked = False
    training = False


@contextmanager
def on_signals() -> Iterator[Stop]:
    """Note the first of `SIGNALS` instead of dying of it; one that comes `GRACE` seconds later kills, should the step
    never end. Before the training begins there is nothing to save, and a signal ends the process at once, with 0.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():  # only the main thread may handle signals
        yield stop
        return
    first = 0.0

    def note(number: int, frame: object) -> None:
        nonlocal first
        if stop.asked:
            if time.monotonic() - first > GRACE:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
            return
        stop.asked, first = True, time.monotonic()
        if stop.training:
            _say(f"Asked to end: saving after this step. A signal after {GRACE:.0f} s ends the run without.")
        else:
            _say("Asked to end before the training began: there is nothing to save.")
            raise SystemExit(0)

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextmanager
def blocked() -> Iterator[None]:
    """Hold the signals back in this thread; processes that are started meanwhile do not get them at all."""
    before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_all_but_parent(worker: int) -> None:
    """In a loader's process, started under `blocked`: go on whoever sends a signal, and end when the parent sends one.

    A signal to the process group of a run must not end the processes that load its data, as the run still needs them
    for its step. The parent must be able to end them all the same: multiprocessing waits for them at the exit.
    """
    parent = os.getppid()

    def wait() -> None:
        while signal.sigwaitinfo(SIGNALS).si_pid != parent:
            pass
        os._exit(0)

    threading.Thread(target=wait, name="signals", daemon=True).start()


def _say(sentence: str) -> None:
    # Not by logging: a signal may come in the middle of a write to the very stream that logging writes to.
    os.write(_STDERR, f"\n{sentence}\n".encode())
