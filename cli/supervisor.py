"""Starts the processes of the service, restarts one that dies, and stops them in order."""

from __future__ import annotations

import logging
import logging.handlers
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cli.children import DIE_WITH_PARENT
from cli.output import local
from common.translation import Message, _

#: Seconds before a process that died is restarted; the delay doubles up to the maximum while it keeps dying.
MIN_RESTART_DELAY, MAX_RESTART_DELAY = 0.5, 30.0
#: Seconds of uptime after which a process counts as healthy: its next restart delay is the minimum again.
HEALTHY_UPTIME = 60.0
#: Seconds between two checks of the processes.
POLL_INTERVAL = 0.2
#: Size at which a log file is rotated, in bytes; one old file is kept.
MAX_LOG_BYTES = 10 * 2**20


@dataclass
class ManagedProcess:
    """One process of the service.

    `ready(pid)` returns a short message when the process is ready, else None. `stop_timeout` is the time it has to stop
    after SIGTERM, in seconds. `show` selects the lines of its output that are also printed on the terminal.
    """

    name: str
    command: list[str]
    ready: Callable[[int], Message | str | None]
    stop_timeout: float
    show: Callable[[str], bool] = lambda line: False
    process: subprocess.Popen[bytes] | None = field(default=None, init=False)
    is_ready: bool = field(default=False, init=False)
    started_at: float = field(default=0.0, init=False)
    restart_delay: float = field(default=MIN_RESTART_DELAY, init=False)
    restart_at: float = field(default=0.0, init=False)


class Supervisor:
    """Keeps its processes running until it is stopped."""

    def __init__(
        self,
        environment: dict[str, str],
        logs: Path,
        *,
        emit: Callable[[str], None] = print,
        inherited: Sequence[int] = (),
    ) -> None:
        """`emit` prints a line for the operator. `inherited` are file descriptors that the processes keep open, such as
        that of a lock.
        """
        self._environment = environment
        self._logs = logs
        self._emit = emit
        self._inherited = inherited
        self._processes: list[ManagedProcess] = []
        self._stopping = threading.Event()
        self._signals = 0

    def stop_on_signals(self) -> None:
        """Stop on Ctrl-C and SIGTERM; a second signal kills the processes without further waiting."""
        for number in (signal.SIGINT, signal.SIGTERM):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: object) -> None:
        self._signals += 1
        self._stopping.set()

    def start(self, managed: ManagedProcess) -> None:
        """Start a process and supervise it from now on."""
        self._processes.append(managed)
        self._launch(managed)

    def wait_ready(self, managed: ManagedProcess) -> bool:
        """Wait until a process is ready; False when the supervisor is stopped first."""
        while not managed.is_ready and not self._stopping.wait(POLL_INTERVAL):
            self._check_processes()
        return managed.is_ready

    def run(self, on_ready: Callable[[], None]) -> None:
        """Supervise the processes until a signal; call `on_ready` once, when all are ready."""
        called = False
        while not self._stopping.wait(POLL_INTERVAL):
            self._check_processes()
            if not called and all(managed.is_ready for managed in self._processes):
                called = True
                on_ready()

    def stop(self) -> None:
        """Stop the processes, the last started first."""
        for managed in reversed(self._processes):
            process = managed.process
            if process is None or process.poll() is not None:
                continue
            process.terminate()
            deadline = time.monotonic() + managed.stop_timeout
            while process.poll() is None and time.monotonic() < deadline and self._signals < 2:
                time.sleep(0.05)
            if process.poll() is None:
                self._emit_for(managed, _("does not stop; killing it"))
                process.kill()
                process.wait()
            else:
                self._emit_for(managed, _("stopped"))

    def _check_processes(self) -> None:
        now = time.monotonic()
        for managed in self._processes:
            process = managed.process
            if process is None:
                if now >= managed.restart_at:
                    self._launch(managed)
            elif process.poll() is not None:
                if now - managed.started_at > HEALTHY_UPTIME:
                    managed.restart_delay = MIN_RESTART_DELAY
                self._emit_for(
                    managed,
                    _(
                        "ended ({reason}); restarting it in {seconds} s. Its log: {log}",
                        reason=_describe_exit(process.returncode),
                        seconds=managed.restart_delay,
                        log=self._logs / (managed.name + ".log"),
                    ),
                )
                managed.process, managed.is_ready = None, False
                managed.restart_at = now + managed.restart_delay
                managed.restart_delay = min(2 * managed.restart_delay, MAX_RESTART_DELAY)
            elif not managed.is_ready and (message := managed.ready(process.pid)):
                managed.is_ready = True
                self._emit_for(managed, _("ready: {message}", message=message))

    def _emit_for(self, managed: ManagedProcess, line: Message | str) -> None:
        self._emit(f"{managed.name:<7} {local(line)}")

    def _launch(self, managed: ManagedProcess) -> None:
        managed.process = subprocess.Popen(
            managed.command,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            pass_fds=self._inherited,
            # In its own session it does not get the terminal's Ctrl-C: only the supervisor does, which stops in order.
            start_new_session=True,
            preexec_fn=DIE_WITH_PARENT,
        )
        managed.started_at = time.monotonic()
        threading.Thread(target=self._copy_output, args=(managed, managed.process), daemon=True).start()

    def _copy_output(self, managed: ManagedProcess, process: subprocess.Popen[bytes]) -> None:
        """Copy the output of a process to its log file, and the lines that `show` selects to the terminal."""
        self._logs.mkdir(parents=True, exist_ok=True)
        log = logging.handlers.RotatingFileHandler(
            self._logs / f"{managed.name}.log", maxBytes=MAX_LOG_BYTES, backupCount=1, encoding="utf-8"
        )
        assert process.stdout is not None
        with process.stdout:
            for raw in process.stdout:
                line = raw.decode(errors="replace").rstrip()
                log.emit(logging.makeLogRecord({"msg": line}))
                if managed.show(line):
                    self._emit_for(managed, line)
        log.close()


def _describe_exit(code: int) -> Message:
    if code >= 0:
        return _("exit code {code}", code=code)
    return _("killed by {signal}", signal=signal.Signals(-code).name)
