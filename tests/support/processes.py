"""Redis, web server and workers as separate processes, with a client of the web server and an audit of its jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.processes import Process, Processes
from common.settings import PROJECT_ROOT
from tests.support.audit import JobAudit
from tests.support.service import Client


class ServiceProcesses(Processes, Client):
    """The processes of a service, and a client of it."""

    def __init__(self, folder: Path, **settings: Any) -> None:
        Processes.__init__(self, folder, **settings)
        Client.__init__(self, self.url)

    def audit(self) -> JobAudit:
        """A new audit of jobs sent to this service."""
        return JobAudit(self, self.settings, self.redis_folder)


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
