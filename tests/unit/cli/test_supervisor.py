"""Processes are started, logged, restarted when they die, and stopped in order."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli import supervisor as module
from cli.supervisor import ManagedProcess, Supervisor
from tests.support.service import wait_until

#: Runs until SIGTERM.
WAITS = "import time; print('up', flush=True); time.sleep(600)"
#: Ignores SIGTERM.
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)


class Run:
    """A supervisor in a thread, and the lines that it emitted."""

    def __init__(self, logs: Path) -> None:
        self.lines: list[str] = []
        self.logs = logs
        self.supervisor = Supervisor(dict(os.environ), logs, emit=self.lines.append)
        self._thread = threading.Thread(target=self.supervisor.run, args=(lambda: self.lines.append("all ready"),))

    def start(self, *processes: ManagedProcess) -> None:
        for managed in processes:
            self.supervisor.start(managed)
        self._thread.start()

    def stop(self) -> None:
        self.supervisor._on_signal(signal.SIGTERM, None)
        self._thread.join()
        self.supervisor.stop()

    def wait_for(self, text: str) -> None:
        """Wait until a line with this text is emitted."""
        wait_until(lambda: any(text in line for line in self.lines), lambda: self.lines, 30)


def process(
    name: str, code: str, ready: Callable[[int], str | None] = lambda pid: "up", **options: object
) -> ManagedProcess:
    return ManagedProcess(name, [sys.executable, "-c", code], ready, **{"stop_timeout": 5.0, **options})  # type: ignore[arg-type]


@pytest.fixture
def run(tmp_path: Path) -> Iterator[Run]:
    yield Run(tmp_path / "logs")


def test_readiness_of_all_processes_is_reported_once(run: Run) -> None:
    run.start(process("one", WAITS), process("two", WAITS))
    run.wait_for("all ready")
    run.stop()

    assert run.lines.count("all ready") == 1
    assert "one     ready: up" in run.lines


def test_a_process_that_dies_is_restarted(run: Run) -> None:
    one = process("one", WAITS)
    run.start(one)
    run.wait_for("one     ready")
    assert one.process is not None
    first = one.process.pid

    os.kill(first, signal.SIGKILL)

    wait_until(lambda: sum("one     ready" in line for line in run.lines) == 2, lambda: run.lines, 30)
    assert one.process is not None and one.process.pid != first
    assert any("killed by SIGKILL" in line for line in run.lines)
    run.stop()


def test_the_restart_delay_doubles_while_a_process_keeps_dying(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MIN_RESTART_DELAY", 0.1)
    one = process("one", "raise SystemExit(3)", lambda pid: None)
    one.restart_delay = 0.1
    run.start(one)
    run.wait_for("in 0.4 s")
    run.stop()

    delays = [line.split(" in ")[1].split(" s.")[0] for line in run.lines if "exit code 3" in line]
    assert delays[:3] == ["0.1", "0.2", "0.4"]


def test_processes_are_stopped_in_reverse_order(run: Run) -> None:
    run.start(process("store", WAITS), process("worker", WAITS))
    run.wait_for("all ready")
    run.stop()

    assert run.lines[-2:] == ["worker  stopped", "store   stopped"]


def test_a_process_that_ignores_sigterm_is_killed(run: Run) -> None:
    stubborn = process("one", STUBBORN, stop_timeout=0.3)
    run.start(stubborn)
    wait_until(lambda: (run.logs / "one.log").exists() and "up" in (run.logs / "one.log").read_text())
    run.stop()

    assert any("does not stop; killing it" in line for line in run.lines)
    assert stubborn.process is not None and stubborn.process.poll() is not None


def test_output_goes_to_the_log_and_selected_lines_to_the_terminal(run: Run) -> None:
    code = "import time; print('chatter'); print('WARNING: look', flush=True); time.sleep(600)"
    run.start(process("one", code, show=lambda line: "WARNING" in line))
    run.wait_for("WARNING: look")
    run.stop()

    assert (run.logs / "one.log").read_text() == "chatter\nWARNING: look\n"
    assert not any("chatter" in line for line in run.lines)


@pytest.mark.skipif(sys.platform != "linux", reason="the parent death signal exists on Linux only")
def test_processes_stop_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    code = f"""
import os, sys, time
from pathlib import Path
from cli.supervisor import ManagedProcess, Supervisor
managed = ManagedProcess("one", [sys.executable, "-c", {WAITS!r}], lambda pid: "up", stop_timeout=5)
supervisor = Supervisor(dict(os.environ), Path({str(tmp_path)!r}), emit=lambda line: None)
supervisor.start(managed)
print(managed.process.pid, flush=True)
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    wait_until(lambda: (tmp_path / "one.log").exists())

    parent.kill()
    parent.wait()
    parent.stdout.close()

    wait_until(lambda: not _is_running(child), timeout=20)


def _is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except FileNotFoundError:
        return False
