"""Runs the real service with `captiond serve`."""

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

#: Default time to wait for a condition, in seconds; enough to import torch and load the model on a busy machine.
WAIT_TIMEOUT = 120


class Client:
    """An HTTP client of a service."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **headers: str) -> tuple[int, dict[str, Any]]:
        """Send a GET; return status and JSON, or status 0 when there is no response."""
        return self.send(urllib.request.Request(self.url + path, headers=headers))

    def post_image(self, data: bytes, query: str = "", **headers: str) -> tuple[int, dict[str, Any]]:
        """Submit an image; return status and JSON."""
        headers["Content-Type"] = "image/jpeg"
        return self.send(urllib.request.Request(f"{self.url}/v1/jobs?{query}", data=data, headers=headers))

    def send(self, request: urllib.request.Request) -> tuple[int, dict[str, Any]]:
        """Send a request; return status and JSON, or status 0 when there is no response."""
        try:
            with urllib.request.urlopen(request, timeout=90) as response:
                return response.status, json.load(response)
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
        self._log_offset = 0  # length of the log in bytes at the last start

    def start(self) -> Service:
        """Start the service and wait until it is ready."""
        self.data.mkdir(parents=True, exist_ok=True)
        with (self.data / "serve.log").open("ab") as log:
            self._log_offset = log.tell()
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", "serve", "--port", str(self.port)],
                env=self._environment,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        wait_until(self.ready, self.log)
        return self

    def stop(self, number: signal.Signals = signal.SIGINT) -> int:
        """Stop the service with a signal, by default that of Ctrl-C, and return its exit code."""
        assert self.process is not None
        self.process.send_signal(number)
        return self.process.wait(60)

    def ready(self) -> bool:
        """Whether this service is ready; its log tells, because the web server of a killed one may still answer."""
        assert self.process is not None and self.process.poll() is None, self.log()
        return "captiond is at" in self.log()[self._log_offset :] and self.get("/readyz/captioning")[0] == 200

    def worker_pid(self) -> int:
        """The process id of the worker."""
        (worker,) = self.get("/v1/workers")[1]["workers"]
        return int(worker["pid"])

    def log(self) -> str:
        """The output of all starts."""
        return (self.data / "serve.log").read_text(encoding="utf-8")

    def job(self, job_id: str) -> dict[str, Any]:
        """The job as JSON."""
        return self.get(f"/v1/jobs/{job_id}")[1]

    def settled(self, job_id: str) -> dict[str, Any]:
        """Wait until the job has ended and return it."""
        wait_until(lambda: self.job(job_id).get("status") in ("succeeded", "failed", "canceled"), self.log)
        return self.job(job_id)


def wait_until(condition: Any, detail: Any = lambda: "", timeout: float = WAIT_TIMEOUT) -> None:
    """Wait until `condition()` is true; fail with `detail()` after `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while not condition():
        assert time.monotonic() < deadline, f"The condition was not met within {timeout} s. {detail()}"
        time.sleep(0.1)
