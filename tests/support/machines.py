"""Machines of a network, as Linux network namespaces with an address, containers and processes. Each can be cut off.

This machine is part of the network, so that a test reaches the others. Needs root and the program `ip`.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from common.settings import PROJECT_ROOT
from tests.support.podman import Container

#: A network's bridge and addresses, by its number and that of a machine. Machine 1 is this one.
BRIDGE, ADDRESS, PREFIX_LENGTH = "captiond{}", "10.213.{}.{}", 24
NETWORKS = range(256)


@contextmanager
def running_network(folder: Path) -> Iterator[Network]:
    """A network without machines, which keep their files in `folder`. At the end all that was added is removed."""
    with ExitStack() as cleanup:
        number = _add_bridge()
        bridge = BRIDGE.format(number)
        cleanup.callback(_ip, "link", "delete", bridge)
        _ip("address", "add", f"{ADDRESS.format(number, 1)}/{PREFIX_LENGTH}", "dev", bridge)
        _ip("link", "set", bridge, "up")
        yield Network(folder, number, cleanup)


def _add_bridge() -> int:
    """Add the bridge of a network whose number no other test uses, and return the number."""
    for number in NETWORKS:
        command = ["ip", "link", "add", BRIDGE.format(number), "type", "bridge"]
        added = subprocess.run(command, capture_output=True, text=True, check=False)
        if "exists" not in added.stderr:
            added.check_returncode()
            return number
    raise LookupError("All networks are in use.")


class Network:
    """A bridge between machines. `cleanup` removes whatever is added, the last first."""

    def __init__(self, folder: Path, number: int, cleanup: ExitStack) -> None:
        self.folder, self.bridge, self.cleanup = folder, BRIDGE.format(number), cleanup
        self._number = number
        self._machines = 1

    def machine(self, name: str) -> Machine:
        """Add a machine."""
        self._machines += 1
        return Machine(self, name, f"{self.bridge}-{self._machines}", ADDRESS.format(self._number, self._machines))


class Machine:
    """A machine with an address, which is connected to the bridge by a port. Its processes write to one log."""

    def __init__(self, network: Network, name: str, port: str, address: str) -> None:
        self.address = address
        self.folder = network.folder / name
        self.folder.mkdir(parents=True)
        self._cleanup, self._namespace, self._port = network.cleanup, f"{network.bridge}-{name}", port
        _ip("netns", "add", self._namespace)
        self._cleanup.callback(_ip, "netns", "delete", self._namespace)
        _ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", self._namespace)
        _ip("link", "set", port, "master", network.bridge, "up")
        for arguments in (
            ("link", "set", "lo", "up"),
            ("address", "add", f"{address}/{PREFIX_LENGTH}", "dev", "eth0"),
            ("link", "set", "eth0", "up"),
        ):
            _ip("-n", self._namespace, *arguments)

    def container(self, name: str, *arguments: str) -> Container:
        """Make a container on this machine, whose output goes to `NAME.log`.

        `arguments` are podman's options, the image and the command.
        """
        options = [f"--network=ns:/run/netns/{self._namespace}", f"--log-opt=path={self.folder / name}.log"]
        container = Container(f"{self._namespace}-{name}", *options, *arguments)
        self._cleanup.callback(container.remove)
        return container

    def start(self, command: Sequence[str]) -> None:
        """Start a process on this machine, outside of any container."""
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(
                ["ip", "netns", "exec", self._namespace, *command],
                cwd=PROJECT_ROOT,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        self._cleanup.callback(process.wait)
        self._cleanup.callback(process.kill)

    def cut_off(self) -> None:
        """Drop everything to and from this machine; its containers and processes go on."""
        _ip("link", "set", self._port, "down")

    def reconnect(self) -> None:
        _ip("link", "set", self._port, "up")

    def log(self) -> str:
        """The end of the processes' output."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")[-3000:]


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True)
