"""The real service, run as a person runs it: `captiond serve` in a folder of its own."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any

from cli.serve import free_port
from common.settings import Settings

#: Seconds the service may take to become ready: torch is imported and the model loaded, on a busy machine.
PATIENCE = 120


class Client:
    """Speaks HTTP with a service."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, Any]]:
        """Status and JSON of a path; status 0 when nothing answers."""
        return self.send(urllib.request.Request(self.url + path, headers=headers))

    def post_picture(self, data: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
        """Send a picture."""
        headers["Content-Type"] = "image/jpeg"
        return self.send(urllib.request.Request(f"{self.url}/v1/jobs", data=data, headers=headers))

    def send(self, request: urllib.request.Request) -> tuple[int, dict[str, Any]]:
        try:
            with urllib.request.urlopen(request, timeout=90) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            return error.code, json.load(error)
        except OSError:
            return 0, {}


class Service(Client):
    """A running `captiond serve` with the demo model."""

    def __init__(self, data: Path, **settings: Any) -> None:
        self.data = data
        self.port = free_port()
        super().__init__(f"http://127.0.0.1:{self.port}")
        self._environment = Settings(data=data, model="demo", **settings).environment()
        self.process: subprocess.Popen[bytes] | None = None
        self._begun = 0  # length of the log, in bytes, at the last start

    def start(self) -> Service:
        """Start it and wait until it is ready."""
        self.data.mkdir(parents=True, exist_ok=True)
        with (self.data / "serve.log").open("ab") as log:
            self._begun = log.tell()
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", "serve", "--port", str(self.port)],
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_until(self.ready, self.log)
        return self

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Stop it as Ctrl-C does; its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(60)

    def ready(self) -> bool:
        """Whether it has said so itself: the web server of one that was killed answers for a moment longer."""
        assert self.process is not None and self.process.poll() is None, self.log()
        return "captiond is at" in self.log()[self._begun :] and self.get("/readyz")[0] == 200

    def log(self) -> str:
        """What it printed."""
        return (self.data / "serve.log").read_text(encoding="utf-8")

    def job(self, job_id: str) -> dict[str, Any]:
        return self.get(f"/v1/jobs/{job_id}")[1]

    def settled(self, job_id: str) -> dict[str, Any]:
        """The job when nothing will change it any more."""
        wait_until(lambda: self.job(job_id).get("status") in ("succeeded", "failed", "canceled"), self.log)
        return self.job(job_id)


def wait_until(true: Any, why: Any = lambda: "", patience: float = PATIENCE) -> None:
    """Wait for a condition; fails with what `why` says when it does not come."""
    deadline = time.monotonic() + patience
    while not true():
        assert time.monotonic() < deadline, f"It did not come within {patience} s. {why()}"
        time.sleep(0.1)
