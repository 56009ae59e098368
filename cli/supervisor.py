"""Starts the parts of the service, restarts one that dies, stops all of them in order."""

from __future__ import annotations

import ctypes
import logging
import logging.handlers
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

#: Seconds before a part that died is started again; doubles up to the cap while it keeps dying.
FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
#: A part that ran for this long was healthy: its next pause is the first one again.
HEALTHY = 60.0
#: Seconds between two looks at the parts.
LOOK = 0.2
#: A part's log is begun anew at this size, in bytes, and one old log is kept.
LOG_SIZE = 10 * 2**20
#: Linux' prctl option by which a child gets a signal when its parent dies.
PR_SET_PDEATHSIG = 1


@dataclass
class ManagedProcess:
    """One process of the service.

    `ready(pid)` says in a few words that the part is ready, or returns None. `patience` is how long it may take
    to stop, in seconds.
    """

    name: str
    command: list[str]
    ready: Callable[[int], str | None]
    patience: float
    shown: Callable[[str], bool] = lambda line: False
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    announced: bool = field(default=False, init=False)
    started: float = field(default=0.0, init=False)
    pause: float = field(default=FIRST_PAUSE, init=False)
    due: float = field(default=0.0, init=False)


class Supervisor:
    """Keeps its parts running until it is told to stop."""

    def __init__(
        self,
        environment: dict[str, str],
        logs: Path,
        *,
        say: Callable[[str], None] = print,
        inherited: Sequence[int] = (),
    ) -> None:
        """`inherited` are descriptors that the parts keep open, such as that of a lock."""
        self._environment = environment
        self._logs = logs
        self._emit = say
        self._inherited = inherited
        self._parts: list[ManagedProcess] = []
        self._stopping = threading.Event()
        self._signals = 0

    def stop_on_signals(self) -> None:
        """Stop on Ctrl-C and SIGTERM; a second one does not wait any longer."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: object) -> None:
        self._signals += 1
        self._stopping.set()

    def start(self, part: ManagedProcess) -> None:
        """Start a part and look after it from now on."""
        self._parts.append(part)
        self._launch(part)

    def wait_ready(self, part: ManagedProcess) -> bool:
        """Wait until `part` is ready; False when the supervisor is stopped meanwhile."""
        while not part.announced and not self._stopping.wait(LOOK):
            self._look()
        return part.announced

    def run(self, on_ready: Callable[[], None]) -> None:
        """Look after the parts until a signal; `on_ready` is called once, when all are ready."""
        told = False
        while not self._stopping.wait(LOOK):
            self._look()
            if not told and all(part.announced for part in self._parts):
                told = True
                on_ready()

    def stop(self) -> None:
        """Stop the parts, the last started first."""
        for part in reversed(self._parts):
            process = part.process
            if process is None or process.poll() is not None:
                continue
            process.terminate()
            deadline = time.monotonic() + part.patience
            while process.poll() is None and time.monotonic() < deadline and self._signals < 2:
                time.sleep(0.05)
            if process.poll() is None:
                self._emit(f"{part.name:<7} does not stop; killing it")
                process.kill()
                process.wait()
            else:
                self._emit(f"{part.name:<7} stopped")

    def _look(self) -> None:
        now = time.monotonic()
        for part in self._parts:
            process = part.process
            if process is None:
                if now >= part.due:
                    self._launch(part)
            elif process.poll() is not None:
                if now - part.started > HEALTHY:
                    part.pause = FIRST_PAUSE
                self._emit(
                    f"{part.name:<7} ended ({_ending(process.returncode)}); starting it again in {part.pause:g} s. "
                    f"Its log: {self._logs / part.name}.log"
                )
                part.process, part.announced = None, False
                part.due, part.pause = now + part.pause, min(2 * part.pause, LONGEST_PAUSE)
            elif not part.announced and (words := part.ready(process.pid)):
                part.announced = True
                self._emit(f"{part.name:<7} ready: {words}")

    def _launch(self, part: ManagedProcess) -> None:
        part.process = subprocess.Popen(
            part.command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=self._inherited,
            # A session of its own: the terminal's Ctrl-C reaches the supervisor only, which stops in order.
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,
        )
        part.started = time.monotonic()
        threading.Thread(target=self._follow, args=(part, part.process), daemon=True).start()

    def _follow(self, part: ManagedProcess, process: subprocess.Popen[bytes]) -> None:
        """Copy what a part prints to its log, and what a person should see to the terminal."""
        self._logs.mkdir(parents=True, exist_ok=True)
        log = logging.handlers.RotatingFileHandler(
            self._logs / f"{part.name}.log", maxBytes=LOG_SIZE, backupCount=1, encoding="utf-8"
        )
        assert process.stdout is not None
        with process.stdout:
            for raw in process.stdout:
                line = raw.decode(errors="replace").rstrip()
                log.emit(logging.makeLogRecord({"msg": line}))
                if part.shown(line):
                    self._emit(f"{part.name:<7} {line}")
        log.close()


def _ending(code: int) -> str:
    return f"exit code {code}" if code >= 0 else f"killed by {signal.Signals(-code).name}"


def _die_with_parent() -> None:
    """Runs in the child: SIGTERM when the supervisor dies, however it dies."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
