"""Redis, web server and workers as separate processes, with a client of the web server and an audit of its jobs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.processes import Processes
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
