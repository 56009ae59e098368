"""Runs a program as process 1 of a PID namespace of its own, as a container does."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

from tests.support.service import wait_until

#: Makes the namespace, for root and, where the kernel lets them, for others; the program ends with `unshare` itself.
UNSHARE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]


@cache
def unshare() -> list[str]:
    """The command that makes a PID namespace; empty where nobody may make one."""
    for command in (UNSHARE, [*UNSHARE, "--user", "--map-root-user"]):
        if (
            shutil.which(command[0])
            and subprocess.run([*command, "true"], capture_output=True, check=False).returncode == 0
        ):
            return command
    return []


class Container:
    """A program that runs as process 1; where no namespace can be made, as a process like any other.

    Either way it must end at a signal by itself. Use it as a context manager, which kills what is left.
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
        wait_until(children.read_text, patience=10)
        return int(children.read_text().split()[0])

    def handles(self, number: signal.Signals) -> bool:
        """Whether the program has a handler for the signal by now."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        return bool(int(status.split("SigCgt:")[1].split()[0], 16) & 1 << number - 1)

    def send(self, number: signal.Signals) -> None:
        """Send it a signal, as a container engine does."""
        os.kill(self.pid, number)

    def exit_code(self, patience: float) -> int:
        """Its exit code, for which it has so many seconds."""
        return self._process.wait(patience)
