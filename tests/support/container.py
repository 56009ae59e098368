"""Runs a program as process 1 of a new PID namespace, as a container does."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.service import wait_until

#: Creates the namespace; needs root or unprivileged user namespaces. Killing `unshare` kills the program.
UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


@cache
def unshare() -> list[str]:
    """The command that creates a PID namespace; empty where that is not permitted."""
    for command in (UNSHARE, [*UNSHARE, "--user", "--map-root-user"]):
        if (
            shutil.which(command[0])
            and subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
        ):
            return command
    return []


class Container:
    """A program that runs as process 1, or as an ordinary process where no namespace can be created.

    As a context manager it kills the program on exit.
    """

    def __init__(self, command: list[str], **options: Any) -> None:
        self._process = subprocess.Popen([*unshare(), *command], start_new_session=True, **options)

    def __enter__(self) -> Container:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait()

    @property
    def pid(self) -> int:
        """The program's id outside its namespace."""
        if not unshare():
            return self._process.pid
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
        wait_until(children.read_text, timeout=10)
        return int(children.read_text().split()[0])

    def handles(self, number: signal.Signals) -> bool:
        """Whether the program has installed a handler for the signal."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return bool(int(status.split("SigCgt:")[1].split()[0], 16) & 1 << number - 1)

    def send(self, number: signal.Signals) -> None:
        """Send a signal to the program, as a container engine does."""
        os.kill(self.pid, number)

    def exit_code(self, timeout: float) -> int:
        """Wait at most `timeout` seconds for the exit code; raises subprocess.TimeoutExpired."""
        return self._process.wait(timeout)
