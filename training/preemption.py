"""Preemption: on SIGTERM (which schedulers send before SIGKILL) or Ctrl-C a run saves after its step and ends."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

#: The signals that stop a run.
SIGNALS = (signal.SIGTERM, signal.SIGINT)
#: Seconds after the first signal in which further signals count as the same request: a scheduler signals every
#: process of a job, and torchrun also forwards the signal that it receives.
GRACE_PERIOD = 10.0
_STDERR = 2


class Stop:
    """`asked`: whether the run was asked to stop. `training`: whether training has started, so that a stop saves."""

    asked = False
    training = False


@contextmanager
def on_signals() -> Iterator[Stop]:
    """Set `Stop.asked` on the first of `SIGNALS`. A signal more than `GRACE_PERIOD` seconds later kills the process.

    Before training starts there is nothing to save, and a signal ends the process at once with exit status 0. Outside
    of the main thread, which alone may handle signals, this does nothing.
    """
    stop = Stop()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return
    first = 0.0

    def handle(number: int, frame: object) -> None:
        nonlocal first
        if stop.asked:
            if time.monotonic() - first > GRACE_PERIOD:
                signal.signal(number, signal.SIG_DFL)
                signal.raise_signal(number)
            return
        stop.asked, first = True, time.monotonic()
        if stop.training:
            _write(f"Stopping: saving after this step. A signal after {GRACE_PERIOD:.0f} s ends the run unsaved.")
        else:
            _write("Stopped before training started; there is nothing to save.")
            raise SystemExit(0)

    previous = {number: signal.signal(number, handle) for number in SIGNALS}
    try:
        yield stop
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def blocked() -> Iterator[None]:
    """Block the signals in this thread. Processes that it starts meanwhile inherit the blocked signals."""
    previous = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, previous)


def ignore_all_but_parent(worker: int) -> None:
    """Make a data loader process, started under `blocked`, end only on a signal from its parent.

    A signal to the run's process group must not end its loader processes, as the run needs them to finish its step.
    The parent must still be able to end them, because multiprocessing waits for them on exit.
    """
    parent = os.getppid()

    def wait() -> None:
        while signal.sigwaitinfo(SIGNALS).si_pid != parent:
            pass
        os._exit(0)

    threading.Thread(target=wait, name="signals", daemon=True).start()


def _write(sentence: str) -> None:
    # Not by logging: the signal may interrupt a write to the stream that logging uses.
    os.write(_STDERR, f"\n{sentence}\n".encode())
