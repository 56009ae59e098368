"""Graceful shutdown: open requests are answered, new connections are refused."""

from __future__ import annotations

import signal
import socket
import threading
import time
from collections.abc import Iterator

import pytest
from redis import Redis

from common.settings import Settings
from tests.support.images import encoded
from tests.unit.web.test_server import head, read_response
from web import create_app, server, shutdown


class RunningServer:
    """A server in a thread."""

    def __init__(self, settings: Settings, redis: Redis) -> None:
        app = create_app(settings, redis=redis)
        self.stopping: threading.Event = app.extensions["captiond"].stopping
        http_server = server.create_server(app, settings)
        self.port = int(http_server.effective_port)
        self._thread = threading.Thread(target=shutdown.serve, args=(http_server, self.stopping))
        self._thread.start()

    def connect(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port))
        client.settimeout(20)
        return client

    def stop(self) -> None:
        """Start the shutdown, and wait until new connections are refused."""
        self.stopping.set()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                self.connect().close()
            except ConnectionRefusedError:
                return
            time.sleep(0.01)
        raise AssertionError("The server still accepts connections.")

    def ended(self, timeout: float) -> bool:
        """Whether the server ends within `timeout` seconds."""
        self._thread.join(timeout)
        return not self._thread.is_alive()


@pytest.fixture
def running(settings: Settings, redis: Redis) -> Iterator[RunningServer]:
    started = RunningServer(settings.model_copy(update={"port": 0}), redis)
    yield started
    started.stopping.set()
    assert started.ended(40)


def test_a_partial_upload_is_received_and_answered(running: RunningServer) -> None:
    image = encoded()
    with running.connect() as client:
        client.sendall(head("/v1/jobs", len(image)) + image[:1000])
        time.sleep(0.1)  # the request starts before the shutdown
        running.stop()
        client.sendall(image[1000:])

        status, job = read_response(client)

    assert (status, job["status"]) == (202, "queued")
    assert running.ended(10)


def test_a_waiting_request_is_answered_with_the_open_job(running: RunningServer) -> None:
    image = encoded()
    with running.connect() as client:
        client.sendall(head("/v1/jobs", len(image), Prefer="wait=60") + image)
        time.sleep(0.5)
        running.stop()

        status, job = read_response(client)

    assert (status, job["status"]) == (202, "queued")
    assert running.ended(10)


def test_idle_connections_are_closed(running: RunningServer) -> None:
    with running.connect() as unused, running.connect() as keep_alive:
        keep_alive.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert read_response(keep_alive)[0] == 200
        running.stop()

        assert (unused.recv(1), keep_alive.recv(1)) == (b"", b"")
    assert running.ended(10)


def test_an_incomplete_request_is_dropped_after_the_grace_period(
    running: RunningServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutdown, "GRACE_PERIOD", 0.5)
    with running.connect() as client:
        client.sendall(head("/v1/jobs", 1000) + b"a")
        time.sleep(0.1)
        running.stop()

        assert running.ended(10)
        assert client.recv(1) == b""


@pytest.fixture
def restored_handlers() -> Iterator[None]:
    """Restores the signal handlers."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("restored_handlers")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_sets_the_event_and_the_second_exits(number: signal.Signals) -> None:
    stopping = threading.Event()
    shutdown.install_signal_handlers(stopping)

    signal.raise_signal(number)
    assert stopping.is_set()
    with pytest.raises(SystemExit) as exit_info:
        signal.raise_signal(number)
    assert exit_info.value.code == 128 + number
