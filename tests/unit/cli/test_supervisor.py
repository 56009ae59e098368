"""Parts are started, followed, started again when they die, and stopped in order."""

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

#: Runs until it is told to stop.
WAITS = "import time; print('up', flush=True); time.sleep(600)"
#: Cannot be told.
STUBBORN = (
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)"
)


class Stage:
    """A supervisor that runs in a thread, and what it said."""

    def __init__(self, logs: Path) -> None:
        self.said: list[str] = []
        self.logs = logs
        self.supervisor = Supervisor(dict(os.environ), logs, say=self.said.append)
        self._thread = threading.Thread(target=self.supervisor.run, args=(lambda: self.said.append("all ready"),))

    def start(self, *parts: ManagedProcess) -> None:
        for part in parts:
            self.supervisor.start(part)
        self._thread.start()

    def stop(self) -> None:
        self.supervisor._on_signal(signal.SIGTERM, None)
        self._thread.join()
        self.supervisor.stop()

    def heard(self, words: str) -> None:
        wait_until(lambda: any(words in line for line in self.said), lambda: self.said, 30)


def part(
    name: str, code: str, ready: Callable[[int], str | None] = lambda pid: "here", **options: object
) -> ManagedProcess:
    return ManagedProcess(name, [sys.executable, "-c", code], ready, **{"patience": 5.0, **options})  # type: ignore[arg-type]


@pytest.fixture
def stage(tmp_path: Path) -> Iterator[Stage]:
    yield Stage(tmp_path / "logs")


def test_it_says_once_when_all_parts_are_ready(stage: Stage) -> None:
    stage.start(part("one", WAITS), part("two", WAITS))
    stage.heard("all ready")
    stage.stop()

    assert stage.said.count("all ready") == 1
    assert "one     ready: here" in stage.said


def test_a_part_that_dies_is_started_again(stage: Stage) -> None:
    one = part("one", WAITS)
    stage.start(one)
    stage.heard("one     ready")
    assert one.process is not None
    first = one.process.pid

    os.kill(first, signal.SIGKILL)

    wait_until(lambda: sum("one     ready" in line for line in stage.said) == 2, lambda: stage.said, 30)
    assert one.process is not None and one.process.pid != first
    assert any("killed by SIGKILL" in line for line in stage.said)
    stage.stop()


def test_one_that_keeps_dying_is_started_more_and_more_slowly(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FIRST_PAUSE", 0.1)
    one = part("one", "raise SystemExit(3)", lambda pid: None)
    one.pause = 0.1
    stage.start(one)
    stage.heard("in 0.4 s")
    stage.stop()

    pauses = [line.split(" in ")[1].split(" s.")[0] for line in stage.said if "exit code 3" in line]
    assert pauses[:3] == ["0.1", "0.2", "0.4"]


def test_the_last_started_is_stopped_first(stage: Stage) -> None:
    stage.start(part("store", WAITS), part("worker", WAITS))
    stage.heard("all ready")
    stage.stop()

    assert stage.said[-2:] == ["worker  stopped", "store   stopped"]


def test_one_that_does_not_stop_is_killed(stage: Stage) -> None:
    stubborn = part("one", STUBBORN, patience=0.3)
    stage.start(stubborn)
    wait_until(lambda: (stage.logs / "one.log").exists() and "up" in (stage.logs / "one.log").read_text())
    stage.stop()

    assert any("does not stop; killing it" in line for line in stage.said)
    assert stubborn.process is not None and stubborn.process.poll() is not None


def test_what_a_part_prints_is_in_its_log_and_what_matters_on_the_terminal(stage: Stage) -> None:
    code = "import time; print('chatter'); print('WARNING: look', flush=True); time.sleep(600)"
    stage.start(part("one", code, shown=lambda line: "WARNING" in line))
    stage.heard("WARNING: look")
    stage.stop()

    assert (stage.logs / "one.log").read_text() == "chatter\nWARNING: look\n"
    assert not any("chatter" in line for line in stage.said)


@pytest.mark.skipif(sys.platform != "linux", reason="the signal at a parent's death is Linux' own")
def test_parts_do_not_outlive_a_supervisor_that_is_killed(tmp_path: Path) -> None:
    code = f"""
import os, sys, time
from pathlib import Path
from cli.supervisor import ManagedProcess, Supervisor
part = ManagedProcess("one", [sys.executable, "-c", {WAITS!r}], lambda pid: "here", patience=5)
supervisor = Supervisor(dict(os.environ), Path({str(tmp_path)!r}), say=lambda line: None)
supervisor.start(part)
print(part.process.pid, flush=True)
time.sleep(600)
"""
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert parent.stdout is not None
    child = int(parent.stdout.readline())
    wait_until(lambda: (tmp_path / "one.log").exists())

    parent.kill()
    parent.wait()
    parent.stdout.close()

    wait_until(lambda: not _runs(child), patience=20)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except FileNotFoundError:
        return False
