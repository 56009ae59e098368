"""Runs a private RabbitMQ node, with its own ports and folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

from benchmarks.processes import Process
from cli.serve import free_port

#: The script behind Debian's `rabbitmq-server` command, which itself runs only as root or rabbitmq, in system folders.
SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")


def find_server() -> Path | None:
    """Path of a server script that any user can run; None when RabbitMQ is not installed."""
    command = shutil.which("rabbitmq-server")
    return SERVER if SERVER.exists() else Path(command) if command else None


class RabbitMQ:
    """One node; its messages and ports stay the same when it is killed and started again."""

    def __init__(self, folder: Path, server: Path) -> None:
        folder.mkdir()
        self._folder = folder
        self._server = server
        self.port = free_port()
        self._environment = {
            **os.environ,
            "HOME": str(folder),
            "ERL_EPMD_PORT": str(free_port()),
            "RABBITMQ_NODENAME": f"captiond-{self.port}@localhost",
            "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
            "RABBITMQ_NODE_PORT": str(self.port),
            "RABBITMQ_DIST_PORT": str(free_port()),
            "RABBITMQ_MNESIA_BASE": str(folder / "mnesia"),
            "RABBITMQ_LOG_BASE": str(folder / "log"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
            "RABBITMQ_CONFIG_FILE": str(folder / "none"),
            "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
        }
        # The node would start epmd as a daemon, which would keep running.
        self._epmd: Process = self._start(["epmd", "-port", self._environment["ERL_EPMD_PORT"]])
        self.node: Process | None = None

    @property
    def url(self) -> str:
        return f"amqp://guest:guest@127.0.0.1:{self.port}//"

    def start(self) -> None:
        """Start the node without waiting for it."""
        self.node = self._start([str(self._server)])

    def kill(self) -> None:
        """Kill the node and all processes of its script with SIGKILL."""
        assert self.node is not None
        os.killpg(self.node.pid, 9)
        self.node.wait()

    def stop(self) -> None:
        """Kill the node and its name server, epmd."""
        if self.node is not None and self.node.poll() is None:
            self.kill()
        self._epmd.kill()
        self._epmd.wait()

    def _start(self, command: list[str]) -> Process:
        with (self._folder / "output").open("ab") as log:
            return subprocess.Popen(
                command,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
