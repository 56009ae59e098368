"""A real `captiond serve` in a folder of its own, and how to speak with it, for benchmarks."""

from __future__ import annotations

import http.client
import json
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import TracebackType
from typing import Any

import psutil

from cli.serve import free_port
from common.settings import Settings

#: Seconds the service may take to become ready.
PATIENCE = 180.0


class Served:
    """The service while it is entered."""

    def __init__(self, data: Path, **settings: Any) -> None:
        self.port = free_port()
        self._data = data
        self._environment = Settings(data=data, port=self.port, **settings).environment()

    def __enter__(self) -> Served:
        self._data.mkdir(parents=True, exist_ok=True)
        with (self._data / "serve.log").open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "cli.main", "serve"], env=self._environment, stdout=log, stderr=subprocess.STDOUT
            )
        deadline, speaker = time.monotonic() + PATIENCE, Speaker(self.port)
        while speaker.ask("GET", "/readyz")[0] != 200:
            if time.monotonic() > deadline or self.process.poll() is not None:
                raise RuntimeError(f"The service did not become ready: {(self._data / 'serve.log').read_text()}")
            time.sleep(0.2)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.process.send_signal(signal.SIGINT)
        self.process.wait()

    def parts(self) -> dict[str, psutil.Process]:
        """The processes of the web server, the worker and Redis."""
        marks = {"web": "web", "celery": "worker"}
        found = {}
        for child in psutil.Process(self.process.pid).children():
            module = next((word for word in child.cmdline() if word in marks), None)
            found[marks[module] if module else "redis"] = child
        return found


class Speaker:
    """One client, over one connection that is kept and opened again when it breaks."""

    def __init__(self, port: int, timeout: float = 60.0) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)

    def ask(self, method: str, path: str, body: bytes | None = None) -> tuple[int, dict[str, str], Any]:
        """Status, headers and JSON; status 0 when there is no answer."""
        headers = {"Content-Type": "image/jpeg"} if body else {}
        try:
            self._connection.request(method, path, body, headers)
            answer = self._connection.getresponse()
            return answer.status, dict(answer.headers), json.loads(answer.read() or b"null")
        except (OSError, http.client.HTTPException):
            self._connection.close()
            return 0, {}, None
