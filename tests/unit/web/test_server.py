"""The server on a real socket: what comes in too slowly or too long is not waited for, nor kept."""

from __future__ import annotations

import errno
import http.client
import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis

from common.settings import Settings
from tests.support.images import encoded
from tests.support.keys import add_key
from web import create_app, server

MB = 2**20


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        data=tmp_path,
        port=0,
        broker_url="memory://",
        max_upload_bytes=2 * MB,
        max_batch_bytes=8 * MB,
        max_batch_items=4,
    )


@pytest.fixture
def serve(redis: Redis) -> Iterator[Callable[[Settings], int]]:
    """Serves with settings; the port."""
    running: list[tuple[Any, threading.Thread]] = []

    def start(settings: Settings) -> int:
        made = server.make(create_app(settings, redis=redis), settings)
        thread = threading.Thread(target=made.run, daemon=True)
        thread.start()
        running.append((made, thread))
        return int(made.adj.sockets[0].getsockname()[1])

    yield start
    for made, thread in running:
        made.asyncore.close_all(getattr(made, "map", None) or made._map)  # the name depends on the number of sockets
        thread.join(10)
        made.task_dispatcher.shutdown(timeout=5)


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """The bytes in this process's temporary files, which have no name."""

    def size() -> int:
        total = 0
        for link in Path("/proc/self/fd").iterdir():
            try:
                target = os.readlink(link)
                total += link.stat().st_size if "deleted" in target and "/tmp" in target else 0
            except OSError:
                continue
        return total

    return size


def head(path: str, length: int | None, kind: str = "image/jpeg", **headers: str) -> bytes:
    how = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n{more}{how}\r\n\r\n".encode()


def answer_of(client: socket.socket) -> tuple[int, dict[str, Any]]:
    response = http.client.HTTPResponse(client)
    response.begin()
    return response.status, json.loads(response.read())


def dropped_after(port: int, start: bytes, trickle: bytes, pause: float, patience: float) -> float | None:
    """Seconds after which the server hung up on a client that sends `trickle` every `pause` seconds, or None."""
    begun = time.monotonic()
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(start)
        client.settimeout(pause)
        while time.monotonic() - begun < patience:
            try:
                client.sendall(trickle)
                if client.recv(1) == b"":
                    return time.monotonic() - begun
            except TimeoutError:
                continue
            except OSError:
                return time.monotonic() - begun
    return None


class TestSlowClients:
    @pytest.fixture(autouse=True)
    def impatient(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server, "GRACE", 1.5)

    @pytest.mark.parametrize(
        "start", [b"GET /healthz HTTP/1.1\r\nX-Slow: ", head("/v1/jobs", 100_000)], ids=["header", "body"]
    )
    def test_one_that_sends_a_byte_now_and_then_is_dropped(
        self, serve: Callable[[Settings], int], settings: Settings, start: bytes
    ) -> None:
        after = dropped_after(serve(settings), start, b"a", pause=0.2, patience=30)

        assert after is not None and after > 1.4

    def test_one_that_is_slow_but_steady_is_not(self, serve: Callable[[Settings], int], settings: Settings) -> None:
        trickle = bytes(2 * server.SLOWEST)

        after = dropped_after(serve(settings), head("/v1/jobs", 2 * MB), trickle, pause=0.2, patience=4)

        assert after is None

    def test_one_that_waits_for_a_caption_is_not(self, serve: Callable[[Settings], int], settings: Settings) -> None:
        port = serve(settings)
        picture = encoded()
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(head("/v1/jobs", len(picture), Prefer="wait=3") + picture)

            assert answer_of(client)[0] == 202


class TestLongBodies:
    def sent(self, port: int, start: bytes, size: int, temporary: Callable[[], int]) -> tuple[int, dict[str, Any], int]:
        """The answer, and the most that was kept in temporary files."""
        most, chunked = 0, b"chunked" in start
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.settimeout(60)
            client.sendall(start)
            for _ in range(size // MB):
                client.sendall(b"%x\r\n%s\r\n" % (MB, bytes(MB)) if chunked else bytes(MB))
                most = max(most, temporary())
            if chunked:
                client.sendall(b"0\r\n\r\n")
            return *answer_of(client), most

    @pytest.mark.parametrize("length", [7 * MB, None], ids=["told", "chunked"])
    def test_a_stranger_s_is_thrown_away_and_answered(
        self, serve: Callable[[Settings], int], settings: Settings, temporary: Callable[[], int], length: int | None
    ) -> None:
        settings.keys_file.touch()

        status, problem, kept = self.sent(serve(settings), head("/v1/batches", length), 7 * MB, temporary)

        assert (status, problem["type"], kept) == (401, "/problems/key-needed", 0)

    @pytest.mark.parametrize("length", [7 * MB, None], ids=["told", "chunked"])
    def test_more_than_a_picture_may_have_is_not_kept_where_one_is_taken(
        self, serve: Callable[[Settings], int], settings: Settings, temporary: Callable[[], int], length: int | None
    ) -> None:
        status, problem, kept = self.sent(serve(settings), head("/v1/jobs", length), 7 * MB, temporary)

        assert (status, problem["type"]) == (413, "/problems/upload-too-large")
        assert kept <= 3 * MB

    def test_a_batch_with_a_key_is_taken_whole(
        self, serve: Callable[[Settings], int], settings: Settings, temporary: Callable[[], int]
    ) -> None:
        bearer = f"Bearer {add_key(settings, 'alice')}"
        picture, parts = encoded(), b""
        for number in range(2):
            parts += (
                f'--x\r\nContent-Disposition: form-data; name="images"; filename="{number}.jpg"\r\n\r\n'.encode()
                + picture
                + bytes(MB)  # Pillow reads a picture to its own end
                + b"\r\n"
            )
        parts += b"--x--\r\n"
        start = head("/v1/batches", len(parts), "multipart/form-data; boundary=x", Authorization=bearer)

        with socket.create_connection(("127.0.0.1", serve(settings))) as client:
            client.sendall(start + parts)
            status, batch = answer_of(client)

        assert (status, batch["request_counts"]["queued"]) == (202, 2)

    def test_all_together_may_not_fill_the_disk_whichever_address_they_come_to(
        self, serve: Callable[[Settings], int], settings: Settings, temporary: Callable[[], int]
    ) -> None:
        port, waiting = serve(settings.model_copy(update={"host": "::"})), []
        addresses = ["127.0.0.1", "::1"] if socket.has_dualstack_ipv6() else ["127.0.0.1"]
        for number in range(5):  # of 8 MB each, begun and held
            client = socket.create_connection((addresses[number % len(addresses)], port))
            client.settimeout(60)
            client.sendall(head("/v1/batches", 8 * MB, "multipart/form-data; boundary=x") + bytes(7 * MB))
            waiting.append(client)
        most = temporary()
        statuses = []
        for client in waiting:
            client.sendall(bytes(MB))
            statuses.append(answer_of(client)[0])
            client.close()

        assert most <= server.BATCHES_AT_ONCE * 8 * MB + 2 * MB
        assert statuses[0] in (400, 413), "the first one is taken (and is no form)"
        assert statuses.count(507) >= 2


@pytest.mark.parametrize(
    ("code", "status", "words", "logged"),
    [
        (errno.ENOSPC, 507, "The server's disk is full.", "No space left on device"),
        (errno.EDQUOT, 507, "The server's disk is full.", "Disk quota exceeded"),
        (errno.EROFS, 500, "The server cannot write the request's data.", "Read-only file system"),
    ],
    ids=errno.errorcode.get,
)
def test_a_long_body_that_cannot_be_written_is_answered_with_the_reason_and_logged(
    serve: Callable[[Settings], int],
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    code: int,
    status: int,
    words: str,
    logged: str,
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    with socket.create_connection(("127.0.0.1", serve(settings))) as client:
        client.sendall(head("/v1/jobs", MB) + bytes(MB))
        said, problem = answer_of(client)

    assert (said, problem["status"]) == (status, status)
    assert problem["detail"].startswith(words)
    assert logged in caplog.text and logged not in problem["detail"]


def test_what_waitress_refuses_by_itself_is_a_problem_too(serve: Callable[[Settings], int], settings: Settings) -> None:
    port = serve(settings)
    for request, status in (
        (b"GET / HTTP/1.1\r\nX-Long: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (head("/v1/jobs", 10**12), 413),
    ):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(request)
            said, problem = answer_of(client)

        assert (said, problem["status"]) == (status, status)
        assert problem["detail"].endswith(".")


def test_an_address_behind_a_proxy_comes_through_and_a_forged_one_does_not(
    serve: Callable[[Settings], int], settings: Settings
) -> None:
    def second_time(settings: Settings) -> int:
        port = serve(settings)
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n")
                status, _ = answer_of(client)
        return status

    once = settings.model_copy(update={"reads_per_minute": 1})

    assert second_time(once) == 200, "it comes from this machine, whatever it says"
    assert second_time(once.model_copy(update={"trusted_proxies": 1})) == 429


@pytest.mark.parametrize(
    "request_line",
    [b"GET /healthz HTTP/1.0\r\n\r\n", b"GET /healthz HTTP/1.1\r\n\r\n", b"GET /healthz HTTP/1.1\r\nHost: web\r\n\r\n"],
    ids=["HTTP/1.0 without a Host", "HTTP/1.1 without a Host", "a service's name"],
)
def test_a_health_probe_is_answered_whatever_host_it_names(
    serve: Callable[[Settings], int], settings: Settings, request_line: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", serve(settings))) as client:
        client.sendall(request_line)

        assert answer_of(client) == (200, {"status": "ok"})
