"""Machines of a network, as Linux network namespaces: each has an address and processes, and can be cut off.

This machine is part of the network, so that a test reaches the others. Needs root and the program `ip`.
"""

from __future__ import annotations

import itertools
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.processes import Process
from common.settings import PROJECT_ROOT

#: The network: an address of this machine and its prefix length, and the addresses of the others.
GATEWAY, PREFIX_LENGTH, ADDRESSES = "10.213.77.1", 24, "10.213.77.{}"
_numbers = itertools.count()


def can_run() -> bool:
    """Whether this process may create namespaces."""
    return os.geteuid() == 0 and shutil.which("ip") is not None


class Network:
    """A bridge between machines."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._bridge = f"cap{os.getpid()}"[:15]
        self.machines: list[Machine] = []
        _ip("link", "add", self._bridge, "type", "bridge")
        _ip("address", "add", f"{GATEWAY}/{PREFIX_LENGTH}", "dev", self._bridge)
        _ip("link", "set", self._bridge, "up")

    def machine(self, name: str) -> Machine:
        """Add a machine."""
        self.machines.append(Machine(self.folder, self._bridge, name, ADDRESSES.format(2 + len(self.machines))))
        return self.machines[-1]

    def stop(self) -> None:
        """Kill all processes and remove the network."""
        for machine in reversed(self.machines):
            machine.stop()
        _ip("link", "delete", self._bridge)


class Machine:
    """A machine with an address. Its processes write to one log."""

    def __init__(self, folder: Path, bridge: str, name: str, address: str) -> None:
        self.name, self.address = name, address
        self.folder = folder / name
        self.folder.mkdir(parents=True)
        number = next(_numbers)
        self._namespace, self._port = f"{bridge}-{name}", f"{bridge}{number}"[-15:]
        self._processes: list[Process] = []
        inside = f"{self._port}i"[-15:]
        _ip("netns", "add", self._namespace)
        _ip("link", "add", self._port, "type", "veth", "peer", "name", inside, "netns", self._namespace)
        _ip("link", "set", self._port, "master", bridge, "up")
        for arguments in (
            ("link", "set", "lo", "up"),
            ("address", "add", f"{address}/{PREFIX_LENGTH}", "dev", inside),
            ("link", "set", inside, "up"),
        ):
            _ip("-n", self._namespace, *arguments)

    def start(self, command: Sequence[str], environment: Mapping[str, str] | None = None) -> Process:
        """Start a process on this machine."""
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self._namespace, *command],
                cwd=PROJECT_ROOT,
                env={**os.environ, **(environment or {})},
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._processes.append(process)
        return process

    def cut_off(self) -> None:
        """Drop everything to and from this machine; its processes go on."""
        _ip("link", "set", self._port, "down")

    def reconnect(self) -> None:
        _ip("link", "set", self._port, "up")

    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")[-3000:]

    def stop(self) -> None:
        """Kill the processes, and remove the machine."""
        for process in self._processes:
            process.kill()
            process.wait()
        _ip("netns", "delete", self._namespace)


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
