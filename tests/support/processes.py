"""The service's processes one by one, so that each can be killed by its own id."""

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
from tests.support.audit import Account
from tests.support.service import Client, wait_until

Process = subprocess.Popen[bytes]


class Parts(Client):
    """Redis with its append-only file, a web server, and workers with the demo model.

    `environment` is added to that of each process that is started from then on.
    """

    def __init__(self, folder: Path, **settings: Any) -> None:
        self.folder = folder
        self.redis_folder = folder / "redis"
        self.redis_folder.mkdir(parents=True, exist_ok=True)
        self._store = free_port()
        self.settings = Settings(
            data=folder,
            port=free_port(),
            redis_url=f"redis://127.0.0.1:{self._store}/0",
            model="demo",
            precision="fp32",
            beams=1,  # the same path of a job, and quicker
            **settings,
        )
        super().__init__(f"http://127.0.0.1:{self.settings.port}")
        self.environment: dict[str, str] = {}
        self._processes: list[Process] = []

    def account(self) -> Account:
        """An account of what is sent here."""
        return Account(self, self.settings, self.redis_folder)

    def start_redis(self, fsync: str = "everysec", *options: str) -> Process:
        """As `captiond serve` starts it, but that the file is never rewritten: it is read at the end."""
        command = [find_server() or "redis-server", "--port", str(self._store), "--dir", str(self.redis_folder)]
        command += ["--appendonly", "yes", "--appendfsync", fsync, "--auto-aof-rewrite-percentage", "0"]
        return self.start([*command, "--save", "", *options])

    def start_web(self, module: str = "web") -> Process:
        return self.start([sys.executable, "-m", module])

    def start_worker(self, app: str = "worker") -> Process:
        return self.start([sys.executable, "-m", "celery", "-A", app, "worker"])

    def start_all(self, fsync: str = "everysec") -> tuple[Process, Process, Process]:
        """Redis, web and one worker, ready."""
        started = self.start_redis(fsync), self.start_web(), self.start_worker()
        self.wait_ready()
        return started

    def wait_ready(self) -> None:
        wait_until(lambda: self.get("/readyz")[0] == 200, self.log)

    def wait_working(self, worker: Process) -> None:
        """Wait until this very worker has announced itself; `/readyz` still counts one that was just killed."""
        workers = Components(connect(self.settings.redis_location), self.settings).workers
        name = f"{gethostname()}-{worker.pid}"
        wait_until(lambda: name in {worker.name for worker in workers.alive()}, self.log)

    def wait_serving(self) -> None:
        """Wait until pictures are accepted; no worker is needed for that."""
        wait_until(lambda: self.get("/healthz")[0] == 200 and self.get("/v1/jobs")[0] == 200, self.log)

    def log(self) -> str:
        return (self.folder / "log").read_text(encoding="utf-8", errors="replace")[-5000:]

    def stop(self) -> None:
        """Stop what still runs, the last started first."""
        for process in reversed(self._processes):
            if process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.terminate()
                try:
                    process.wait(60)
                except subprocess.TimeoutExpired:
                    kill(process)

    def start(self, command: list[str]) -> Process:
        """Start a process, which `stop` stops."""
        environment = {**self.settings.environment(), **self.environment}
        with (self.folder / "log").open("ab") as log:
            process = subprocess.Popen(command, cwd=PROJECT_ROOT, env=environment, stdout=log, stderr=subprocess.STDOUT)
        self._processes.append(process)
        return process


def kill(process: Process) -> None:
    """As the kernel does when memory is short."""
    process.kill()
    process.wait()
