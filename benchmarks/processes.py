"""Runs Redis, web server and workers as separate processes, so that each of them can be killed."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from socket import gethostname
from typing import Any

from benchmarks.http_client import HttpClient
from cli.redis_server import find_server
from cli.serve import free_port
from common.ledger import Components, connect
from common.settings import PROJECT_ROOT, Settings

#: Seconds in which a process must be ready; enough to import torch and load the model on a busy machine.
START_TIMEOUT = 120.0
#: Seconds that a process may take to stop before it is killed.
STOP_TIMEOUT = 60.0

Process = subprocess.Popen[bytes]


class Processes:
    """Redis with its append-only file, a web server, and workers, by default with the demo model.

    `url` is that of the web server.
    `environment` has extra environment variables for the processes that are started later.
    """

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.redis_folder = folder / "redis"
        self.redis_folder.mkdir(parents=True, exist_ok=True)
        self._redis_port = free_port()
        settings.setdefault("model", "demo")
        settings.setdefault("redis_url", f"redis://127.0.0.1:{self._redis_port}/0")
        self.settings = Settings(
            data=folder,
            port=free_port(),
            precision="fp32",
            beams=1,  # faster, and a job takes the same steps
            **settings,
        )
        self.url = f"http://127.0.0.1:{self.settings.port}"
        self.environment: dict[str, str] = {}
        self._processes: list[Process] = []

    def start_redis(self, fsync: str = "everysec", *options: str) -> Process:
        """Start Redis as `captiond serve` does, but never rewrite the append-only file, which the tests read."""
        command = [find_server() or "redis-server", "--port", str(self._redis_port), "--dir", str(self.redis_folder)]
        command += ["--appendonly", "yes", "--appendfsync", fsync, "--auto-aof-rewrite-percentage", "0"]
        return self.start([*command, "--save", "", *options])

    def start_web(self, module: str = "web") -> Process:
        """Start the web server, or another module in its place."""
        return self.start([sys.executable, "-m", module])

    def start_worker(self, app: str = "worker") -> Process:
        """Start a Celery worker of this app."""
        return self.start([sys.executable, "-m", "celery", "-A", app, "worker"])

    def start_all(self, fsync: str = "everysec") -> tuple[Process, Process, Process]:
        """Start Redis, the web server and one worker, and wait until the service is ready."""
        started = self.start_redis(fsync), self.start_web(), self.start_worker()
        self.wait_ready()
        return started

    def wait_ready(self) -> None:
        """Wait until pictures are accepted and captioned."""
        self.wait_for_web()
        self._wait_until(lambda: self._answers("/readyz/captioning"))

    def wait_for_worker(self, worker: Process) -> None:
        """Wait until this worker has announced itself; the probe still counts a worker that was just killed."""
        workers = Components(connect(self.settings.redis_location), self.settings).workers
        name = f"{gethostname()}-{worker.pid}"
        self._wait_until(lambda: name in {worker.name for worker in workers.alive()})

    def wait_for_web(self) -> None:
        """Wait until the web server accepts images, which needs no worker."""
        self._wait_until(lambda: self._answers("/readyz"))

    def log(self) -> str:
        """The last 5,000 characters of the processes' output."""
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")[-5000:]

    def stop(self) -> None:
        """Stop the running processes, the last started first."""
        for process in reversed(self._processes):
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
                try:
                    process.wait(STOP_TIMEOUT)
                except subprocess.TimeoutExpired:
                    kill(process)

    def start(self, command: list[str]) -> Process:
        """Start a process, which `stop` will stop."""
        environment = {**self.settings.environment(), **self.environment}
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(command, cwd=PROJECT_ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
        self._processes.append(process)
        return process

    def _answers(self, path: str) -> bool:
        with closing(HttpClient(self.url)) as client:
            return client.request("GET", path)[0] == 200

    def _wait_until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not condition():
            if time.monotonic() > deadline:
                raise RuntimeError(f"A process is not ready after {START_TIMEOUT:.0f} s:\n{self.log()}")
            time.sleep(0.1)


def kill(process: Process) -> None:
    """Kill a process with SIGKILL and wait for it."""
    process.kill()
    process.wait()
