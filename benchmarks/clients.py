"""People who send a picture and wait for its caption, as many at once as asked for."""

from __future__ import annotations

import http.client
import json
import queue
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

#: Seconds a caption may take.
TIMEOUT = 600


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


def send(url: str, pictures: Sequence[bytes], clients: int) -> Load:
    """Have the clients send all pictures, each its next one as soon as it has a caption.

    Raises the first error that a client meets: a figure with failures in it would be none.
    """
    waiting: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    for picture in pictures:
        waiting.put(picture)
    latencies: list[float] = []
    errors: list[Exception] = []

    def client() -> None:
        place = urlsplit(url)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=TIMEOUT)
        try:
            while not errors:
                picture = waiting.get_nowait()
                started = time.perf_counter()
                _caption(connection, place.path, picture)
                latencies.append(time.perf_counter() - started)
        except queue.Empty:
            pass
        except Exception as error:
            errors.append(error)
        finally:
            connection.close()

    threads = [threading.Thread(target=client) for _ in range(min(clients, len(pictures)))]
    started = time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if errors:
        raise errors[0]
    return Load(latencies, time.perf_counter() - started)


def _caption(connection: http.client.HTTPConnection, path: str, picture: bytes) -> None:
    """Send a picture and wait for its caption, by asking again where the answer is a job."""
    headers = {"Content-Type": "image/jpeg", "Prefer": "wait=60"}
    connection.request("POST", path, picture, headers)
    status, body = _answer(connection)
    while status == 202 or (status == 200 and body.startswith(b"{") and _waits(body)):
        connection.request("GET", json.loads(body)["urls"]["self"], headers={"Prefer": "wait=60"})
        status, body = _answer(connection)
        if _waits(body):
            time.sleep(0.1)
    if status not in (200, 201):
        raise RuntimeError(f"{path} answered {status}: {body[:200]!r}")


def _waits(body: bytes) -> bool:
    return json.loads(body).get("status") in ("queued", "processing")


def _answer(connection: http.client.HTTPConnection) -> tuple[int, bytes]:
    response = connection.getresponse()
    return response.status, response.read()
