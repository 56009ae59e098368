"""Concurrent clients that send images and wait for the captions."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from benchmarks.http_client import HttpClient

#: Seconds a caption may take.
TIMEOUT = 600
#: Seconds between two polls of a waiting job.
POLL_INTERVAL = 0.1


@dataclass(frozen=True)
class Load:
    """Latency of each image and duration of the whole run, in seconds."""

    latencies: list[float]
    seconds: float

    @property
    def images_per_second(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile(self, percent: int) -> float:
        """A percentile of the latencies, by nearest rank."""
        ranked = sorted(self.latencies)
        return ranked[max(0, -(-percent * len(ranked) // 100) - 1)]


def send(url: str, bodies: Sequence[bytes], clients: int, *, content_type: str = "image/jpeg") -> Load:
    """Send all bodies with `clients` clients; each sends its next body when it has received a caption.

    Raises the first error of any client: a run with failures gives no figure.
    """
    pending: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    for body in bodies:
        pending.put(body)
    latencies: list[float] = []
    errors: list[Exception] = []
    path = urlsplit(url).path

    def run_client() -> None:
        try:
            with closing(HttpClient(url, TIMEOUT)) as client:
                while not errors:
                    body = pending.get_nowait()
                    started = time.perf_counter()
                    _caption(client, path, body, content_type)
                    latencies.append(time.perf_counter() - started)
        except queue.Empty:
            pass
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=run_client) for _ in range(min(clients, len(bodies)))]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return Load(latencies, time.perf_counter() - started)


def _caption(client: HttpClient, path: str, body: bytes, content_type: str) -> None:
    """Send an image and wait for its caption; poll when the response is a job that still waits."""
    prefer_wait = {"Prefer": "wait=60"}
    answer = _request(client, "POST", path, body, {"Content-Type": content_type, **prefer_wait})
    while answer.get("status") in ("queued", "processing"):
        time.sleep(POLL_INTERVAL)
        answer = _request(client, "GET", answer["urls"]["self"], None, prefer_wait)
    if answer.get("status", "succeeded") != "succeeded":
        raise RuntimeError(f"{path} ended with {answer}")


def _request(
    client: HttpClient, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
) -> dict[str, Any]:
    """The JSON of the response. Raises RuntimeError for an error status or a missing response."""
    status, _, content = client.request(method, path, body, headers)
    if not 0 < status < 400:
        raise RuntimeError(f"{path} answered {status}: {content}")
    answer: dict[str, Any] = content
    return answer
