"""Runs Redis, web server and workers as separate processes, so that a test can kill each of them."""

from __future__ import annotations

import signal
import subprocess
import sys
from pathlib import Path
from socket import gethostname
from typing import Any

from cli.redis_server import find_server
from cli.serve import free_port
from common.ledger import Components, connect
from common.settings import PROJECT_ROOT, Settings
from tests.support.audit import JobAudit
from tests.support.service import Client, wait_until

Process = subprocess.Popen[bytes]


class ServiceProcesses(Client):
    """Redis with its append-only file, a web server, and workers with the demo model.

    `environment` has extra environment variables for the processes that are started later.
    """

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.redis_folder = folder / "redis"
        self.redis_folder.mkdir(parents=True, exist_ok=True)
        self._redis_port = free_port()
        settings.setdefault("redis_url", f"redis://127.0.0.1:{self._redis_port}/0")
        self.settings = Settings(
            data=folder,
            port=free_port(),
            model="demo",
            precision="fp32",
            beams=1,  # faster, and a job takes the same steps
            **settings,
        )
        super().__init__(f"http://127.0.0.1:{self.settings.port}")
        self.environment: dict[str, str] = {}
        self._processes: list[Process] = []

    def audit(self) -> JobAudit:
        """A new audit of jobs sent to this service."""
        return JobAudit(self, self.settings, self.redis_folder)

    def start_redis(self, fsync: str = "everysec", *options: str) -> Process:
        """Start Redis as `captiond serve` does, but never rewrite the append-only file, which the audit reads."""
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
        wait_until(lambda: self.get("/readyz/captioning")[0] == 200, self.log)

    def wait_for_worker(self, worker: Process) -> None:
        """Wait until this worker has announced itself; the probe still counts a worker that was just killed."""
        workers = Components(connect(self.settings.redis_location), self.settings).workers
        name = f"{gethostname()}-{worker.pid}"
        wait_until(lambda: name in {worker.name for worker in workers.alive()}, self.log)

    def wait_for_web(self) -> None:
        """Wait until the web server accepts images, which needs no worker."""
        wait_until(lambda: self.get("/readyz")[0] == 200, self.log)

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
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    kill(process)

    def start(self, command: list[str]) -> Process:
        """Start a process, which `stop` will stop."""
        environment = {**self.settings.environment(), **self.environment}
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(command, cwd=PROJECT_ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
        self._processes.append(process)
        return process


class TwoModels(ServiceProcesses):
    """The service with a worker for each of `MODELS`: the demo model, and the same by another name."""

    MODELS = ("demo", "second")

    def start_all(self, fsync: str = "everysec") -> tuple[Process, Process, Process]:
        """Start Redis, the web server and both workers, and wait until both have announced themselves."""
        (self.folder / "second").symlink_to(PROJECT_ROOT / "models" / "demo")
        started = self.start_redis(fsync), self.start_web(), self.start_worker()
        self.start_second()
        self.wait_ready()
        self.wait_for_worker(started[2])
        return started

    def start_second(self) -> None:
        """Start the worker with the model `second`, and wait until it has announced itself."""
        self.environment["CAPTIOND_MODEL"] = str(self.folder / "second")
        self.second = self.start_worker()
        del self.environment["CAPTIOND_MODEL"]
        self.wait_for_worker(self.second)


def kill(process: Process) -> None:
    """Kill a process with SIGKILL and wait for it."""
    process.kill()
    process.wait()
