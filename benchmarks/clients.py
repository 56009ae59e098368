"""People who send a picture and wait for its caption, as many at once as asked for."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from benchmarks.speaker import HttpClient

#: Seconds a caption may take.
TIMEOUT = 600
#: Seconds between two questions for a job that waits.
PAUSE = 0.1


@dataclass(frozen=True)
class Load:
    """How long the pictures took, each and together, in seconds."""

    latencies: list[float]
    seconds: float

    @property
    def pictures_per_second(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile(self, percent: int) -> float:
        """Nearest rank."""
        ranked = sorted(self.latencies)
        return ranked[max(0, -(-percent * len(ranked) // 100) - 1)]


def send(url: str, bodies: Sequence[bytes], clients: int, *, kind: str = "image/jpeg") -> Load:
    """Have the clients send all bodies, each its next one as soon as it has a caption. `kind` is their media type.

    Raises the first error that a client meets: a figure with failures in it would be none.
    """
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    for body in bodies:
        waiting.put(body)
    latencies: list[float] = []
    errors: list[Exception] = []
    path = urlsplit(url).path

    def client() -> None:
        try:
            with closing(HttpClient(url, TIMEOUT)) as speaker:
                while not errors:
                    body = waiting.get_nowait()
                    started = time.perf_counter()
                    _caption(speaker, path, body, kind)
                    latencies.append(time.perf_counter() - started)
        except queue.Empty:
            pass
        except Exception as error:
            errors.append(error)

    threads = [threading.Thread(target=client) for _ in range(min(clients, len(bodies)))]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return Load(latencies, time.perf_counter() - started)


def _caption(speaker: HttpClient, path: str, body: bytes, kind: str) -> None:
    """Send a picture and wait for its caption, by asking again where the answer is a job that waits."""
    patient = {"Prefer": "wait=60"}
    answer = _asked(speaker, "POST", path, body, {"Content-Type": kind, **patient})
    while answer.get("status") in ("queued", "processing"):
        time.sleep(PAUSE)
        answer = _asked(speaker, "GET", answer["urls"]["self"], None, patient)
    if answer.get("status", "succeeded") != "succeeded":
        raise RuntimeError(f"{path} ended with {answer}")


def _asked(
    speaker: HttpClient, method: str, path: str, body: bytes | None, headers: Mapping[str, str]
) -> dict[str, Any]:
    """The answer's JSON; raises RuntimeError for a refusal, and where there is none."""
    status, _, answer = speaker.ask(method, path, body, headers)
    if not 0 < status < 400:
        raise RuntimeError(f"{path} answered {status}: {answer}")
    found: dict[str, Any] = answer
    return found
