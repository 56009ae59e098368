"""A server that is told to stop answers what has begun, takes nothing new, and ends."""

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
from tests.unit.web.test_server import answer_of, head
from web import create_app, server, shutdown


class Running:
    """A server in a thread of its own, which may be told to stop."""

    def __init__(self, settings: Settings, redis: Redis) -> None:
        app = create_app(settings, redis=redis)
        self.stopping: threading.Event = app.extensions["captiond"].stopping
        made = server.make(app, settings)
        self.port = int(made.effective_port)
        self._thread = threading.Thread(target=shutdown.serve, args=(made, self.stopping))
        self._thread.start()

    def connect(self) -> socket.socket:
        client = socket.create_connection(("127.0.0.1", self.port))
        client.settimeout(20)
        return client

    def stop(self) -> None:
        """Tell it to stop, and wait until it takes no more connections."""
        self.stopping.set()
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            try:
                self.connect().close()
            except ConnectionRefusedError:
                return
            time.sleep(0.01)
        raise AssertionError("It still takes connections.")

    def ended(self, patience: float) -> bool:
        """Whether it ends within so many seconds."""
        self._thread.join(patience)
        return not self._thread.is_alive()


@pytest.fixture
def running(settings: Settings, redis: Redis) -> Iterator[Running]:
    started = Running(settings.model_copy(update={"port": 0}), redis)
    yield started
    started.stopping.set()
    assert started.ended(40)


def test_an_upload_that_has_begun_is_taken_to_its_end_and_answered(running: Running) -> None:
    picture = encoded()
    with running.connect() as client:
        client.sendall(head("/v1/jobs", len(picture)) + picture[:1000])
        time.sleep(0.1)  # so that it has begun before the end
        running.stop()
        client.sendall(picture[1000:])

        status, job = answer_of(client)

    assert (status, job["status"]) == (202, "queued")
    assert running.ended(10)


def test_who_waits_for_a_caption_is_answered_with_the_job_as_it_is(running: Running) -> None:
    picture = encoded()
    with running.connect() as client:
        client.sendall(head("/v1/jobs", len(picture), Prefer="wait=60") + picture)
        time.sleep(0.5)
        running.stop()

        status, job = answer_of(client)

    assert (status, job["status"]) == (202, "queued")
    assert running.ended(10)


def test_a_connection_on_which_nothing_happens_is_closed(running: Running) -> None:
    with running.connect() as silent, running.connect() as kept:
        kept.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answer_of(kept)[0] == 200
        running.stop()

        assert (silent.recv(1), kept.recv(1)) == (b"", b"")
    assert running.ended(10)


def test_a_request_that_does_not_come_to_an_end_is_not_waited_for_longer_than_told(
    running: Running, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutdown, "GRACE", 0.5)
    with running.connect() as client:
        client.sendall(head("/v1/jobs", 1000) + b"a")
        time.sleep(0.1)
        running.stop()

        assert running.ended(10)
        assert client.recv(1) == b""


@pytest.fixture
def handlers() -> Iterator[None]:
    """Puts the signals' handlers back."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_for_the_end_and_a_second_one_does_not_wait(number: signal.Signals) -> None:
    stopping = threading.Event()
    shutdown.on_signals(stopping)

    signal.raise_signal(number)
    assert stopping.is_set()
    with pytest.raises(SystemExit) as ended:
        signal.raise_signal(number)
    assert ended.value.code == 128 + number
