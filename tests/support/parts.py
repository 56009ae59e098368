"""The service's processes one by one, so that each can be killed by its own id."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from cli.redis_server import find_server
from cli.serve import free_port
from common.settings import PROJECT_ROOT, Settings
from tests.support.service import Client, wait_until

Process = subprocess.Popen[bytes]


class Parts(Client):
    """Redis with its append-only file, a web server, and workers with the demo model."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self._store = free_port()
        self.settings = Settings(
            data=folder,
            port=free_port(),
            redis_url=f"redis://127.0.0.1:{self._store}/0",
            model="demo",
            precision="fp32",
            **settings,
        )
        super().__init__(f"http://127.0.0.1:{self.settings.port}")
        self._processes: list[Process] = []

    def start_redis(self) -> Process:
        command = [find_server() or "redis-server", "--port", str(self._store), "--dir", str(self.folder)]
        return self._start([*command, "--appendonly", "yes", "--appendfsync", "always", "--save", ""])

    def start_web(self) -> Process:
        return self._start([sys.executable, "-m", "web"])

    def start_worker(self, app: str = "worker") -> Process:
        return self._start([sys.executable, "-m", "celery", "-A", app, "worker"])

    def start_all(self) -> tuple[Process, Process, Process]:
        """Redis, web and one worker, ready."""
        started = self.start_redis(), self.start_web(), self.start_worker()
        self.wait_ready()
        return started

    def wait_ready(self) -> None:
        wait_until(lambda: self.get("/readyz")[0] == 200, self.log)

    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")[-5000:]

    def stop(self) -> None:
        """Stop what still runs, the last started first."""
        for process in reversed(self._processes):
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
                process.wait(60)

    def _start(self, command: list[str]) -> Process:
        environment = {**os.environ, **self.settings.environment()}
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(command, cwd=PROJECT_ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
        self._processes.append(process)
        return process


def kill(process: Process) -> None:
    """As the kernel does when memory is short."""
    process.kill()
    process.wait()
