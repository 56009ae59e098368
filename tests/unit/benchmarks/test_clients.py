"""Benchmark clients send every image, wait for each caption, and stop at the first failure."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmarks.clients import Load, send


class Service(BaseHTTPRequestHandler):
    """Returns a queued job for a POST and a finished one for a GET; the job of the body `bad` fails."""

    protocol_version = "HTTP/1.1"
    received: list[bytes]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.received.append(body)
        status = "failed" if body == b"bad" else "queued"
        self._answer({"status": status, "urls": {"self": "/v1/jobs/1"}})

    def do_GET(self) -> None:
        self._answer({"status": "succeeded"})

    def log_message(self, *_: object) -> None:
        pass

    def _answer(self, content: object) -> None:
        body = json.dumps(content).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


@pytest.fixture
def url() -> Iterator[str]:
    Service.received = []
    with ThreadingHTTPServer(("127.0.0.1", 0), Service) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/v1/jobs"
        server.shutdown()


@pytest.mark.parametrize("clients", [1, 3, 9])
def test_every_body_is_sent_once_and_timed(url: str, clients: int) -> None:
    bodies = [str(number).encode() for number in range(6)]

    load = send(url, bodies, clients)

    assert sorted(Service.received) == bodies
    assert len(load.latencies) == 6
    assert 0 < max(load.latencies) <= load.seconds


def test_a_failed_job_raises(url: str) -> None:
    with pytest.raises(RuntimeError, match="failed"):
        send(url, [b"good", b"bad"], 2)


def test_percentiles_are_measured_values() -> None:
    load = Load([0.1 * number for number in range(1, 11)], seconds=5.0)

    assert [load.percentile(percent) for percent in (1, 50, 95, 100)] == pytest.approx([0.1, 0.5, 1.0, 1.0])
    assert load.images_per_second == 2.0
