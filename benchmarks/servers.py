"""Starts what is measured as processes of their own, and asks how much memory they hold."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

#: Seconds a server may take to load the model and answer.
PATIENCE = 180.0


@dataclass
class Server:
    """A contender: where pictures go, and its processes."""

    name: str
    url: str
    ready: str
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    def wait_ready(self) -> None:
        """Wait until a request is answered, whatever the answer to a GET is."""
        deadline = time.monotonic() + PATIENCE
        while True:
            if any(process.poll() is not None for process in self.processes):
                raise RuntimeError(f"{self.name} ended before it was ready; see its log.")
            try:
                with urllib.request.urlopen(self.ready, timeout=5):
                    return
            except urllib.error.HTTPError as error:
                if error.code != 503:  # an address that takes only POST answers 404 or 405, and is there
                    return
            except OSError:
                pass
            if time.monotonic() > deadline:
                raise TimeoutError(f"{self.name} is not ready after {PATIENCE:.0f} s; see its log.")
            time.sleep(0.2)

    def peak_megabytes(self) -> float:
        """The most memory that its processes, and theirs, have held."""
        return sum(_peak(process) for top in self.processes for process in _family(top.pid)) / 1024

    def stop(self) -> None:
        for process in reversed(self.processes):
            process.terminate()
        for process in self.processes:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def launch(command: Sequence[str], log: Path, environment: Mapping[str, object]) -> subprocess.Popen[bytes]:
    """A process with these variables added, printing into `log`."""
    variables = {**os.environ, **{name: str(value) for name, value in environment.items()}}
    with log.open("ab") as file:
        return subprocess.Popen([sys.executable, *command], env=variables, stdout=file, stderr=subprocess.STDOUT)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _family(pid: int) -> list[int]:
    """The process and all that came of it."""
    children: dict[int, list[int]] = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((folder / "stat").read_text().rsplit(") ", 1)[1].split()[1])
        except (OSError, IndexError):
            continue
        children.setdefault(parent, []).append(int(folder.name))
    found = [pid]
    for each in found:
        found += children.get(each, [])
    return found


def _peak(pid: int) -> int:
    """Kilobytes."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("VmHWM")), 0)
