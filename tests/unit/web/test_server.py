"""The server on a real socket: limits on slow requests and long bodies."""

from __future__ import annotations

import errno
import http.client
import json
import os
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from redis import Redis

from common.ledger import Ledger, keys
from common.settings import Settings
from tests.support.images import encoded
from tests.support.keys import add_key
from tests.unit.worker.fakes import eventually
from web import server

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
def temporary_bytes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """Measures the bytes in the unlinked temporary files of this process."""

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
    framing = "Transfer-Encoding: chunked" if length is None else f"Content-Length: {length}"
    more = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: {kind}\r\n{more}{framing}\r\n\r\n".encode()


def read_response(client: socket.socket) -> tuple[int, dict[str, Any]]:
    """The next response of the server. Bytes of a later one, which may have arrived with it, stay in the socket."""
    without_reading_ahead = SimpleNamespace(makefile=lambda mode: client.makefile(mode, buffering=1))
    response = http.client.HTTPResponse(without_reading_ahead)  # type: ignore[arg-type]
    response.begin()
    return response.status, json.loads(response.read())


def dropped_after(port: int, start: bytes, trickle: bytes, interval: float, timeout: float) -> float | None:
    """Seconds until the server closes the connection of a client that sends `trickle` every `interval` seconds.

    None if the connection is still open after `timeout` seconds.
    """
    started = time.monotonic()
    with socket.create_connection(("127.0.0.1", port)) as client:
        client.sendall(start)
        client.settimeout(interval)
        while time.monotonic() - started < timeout:
            try:
                client.sendall(trickle)
                if client.recv(1) == b"":
                    return time.monotonic() - started
            except TimeoutError:
                continue
            except OSError:
                return time.monotonic() - started
    return None


class TestSlowClients:
    @pytest.fixture(autouse=True)
    def short_timeout(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(server, "RECEIVE_TIMEOUT", 1.5)

    @pytest.mark.parametrize(
        "start", [b"GET /healthz HTTP/1.1\r\nX-Slow: ", head("/v1/jobs", 100_000)], ids=["header", "body"]
    )
    def test_a_client_that_trickles_bytes_is_dropped(
        self, serve: Callable[[Settings], int], settings: Settings, start: bytes
    ) -> None:
        after = dropped_after(serve(settings), start, b"a", interval=0.2, timeout=30)

        assert after is not None and after > 1.4

    def test_a_slow_but_steady_client_is_not_dropped(
        self, serve: Callable[[Settings], int], settings: Settings
    ) -> None:
        trickle = bytes(2 * server.MIN_RECEIVE_RATE)

        after = dropped_after(serve(settings), head("/v1/jobs", 2 * MB), trickle, interval=0.2, timeout=4)

        assert after is None

    def test_a_client_that_waits_for_a_caption_is_not_dropped(
        self, serve: Callable[[Settings], int], settings: Settings
    ) -> None:
        port = serve(settings)
        image = encoded()
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(head("/v1/jobs", len(image), Prefer="wait=3") + image)

            assert read_response(client)[0] == 202


class TestDisconnectedClients:
    @pytest.fixture
    def is_waiting(self, redis: Redis) -> Callable[[], bool]:
        """Whether a request waits for a caption: then the server has subscribed to ended jobs."""
        return lambda: dict(redis.pubsub_numsub(keys.ENDED))[keys.ENDED] > 0

    @pytest.mark.parametrize("linger", [(0, 0), (1, 0)], ids=["closed", "reset"])
    def test_a_request_stops_waiting_when_its_client_disconnects(
        self,
        serve: Callable[[Settings], int],
        settings: Settings,
        is_waiting: Callable[[], bool],
        linger: tuple[int, int],
    ) -> None:
        port, image = serve(settings), encoded()
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", *linger))
            client.sendall(head("/v1/jobs", len(image), Prefer="wait=60") + image)
            eventually(is_waiting)

        eventually(lambda: not is_waiting())

    def test_a_request_goes_on_waiting_when_its_client_has_sent_another(
        self, serve: Callable[[Settings], int], settings: Settings, is_waiting: Callable[[], bool], ledger: Ledger
    ) -> None:
        port, image = serve(settings), encoded()
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(head("/v1/jobs", len(image), Prefer="wait=60") + image)
            eventually(is_waiting)
            client.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
            ledger.cancel(ledger.recent(limit=1)[0][0].id)

            assert read_response(client)[1]["status"] == "canceled"
            assert read_response(client)[0] == 200


class TestLongBodies:
    def send(
        self, port: int, start: bytes, size: int, temporary_bytes: Callable[[], int]
    ) -> tuple[int, dict[str, Any], int]:
        """Status and body of the response, and the peak size of the temporary files in bytes."""
        peak, chunked = 0, b"chunked" in start
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.settimeout(60)
            client.sendall(start)
            for _ in range(size // MB):
                client.sendall(b"%x\r\n%s\r\n" % (MB, bytes(MB)) if chunked else bytes(MB))
                peak = max(peak, temporary_bytes())
            if chunked:
                client.sendall(b"0\r\n\r\n")
            return *read_response(client), peak

    @pytest.mark.parametrize("length", [7 * MB, None], ids=["with length", "chunked"])
    def test_a_body_without_a_required_key_is_discarded(
        self,
        serve: Callable[[Settings], int],
        settings: Settings,
        temporary_bytes: Callable[[], int],
        length: int | None,
    ) -> None:
        settings.keys_file.touch()

        status, problem, stored = self.send(serve(settings), head("/v1/batches", length), 7 * MB, temporary_bytes)

        assert (status, problem["type"], stored) == (401, "/problems/key-needed", 0)

    @pytest.mark.parametrize("length", [7 * MB, None], ids=["with length", "chunked"])
    def test_a_body_that_is_too_long_for_one_image_is_discarded(
        self,
        serve: Callable[[Settings], int],
        settings: Settings,
        temporary_bytes: Callable[[], int],
        length: int | None,
    ) -> None:
        status, problem, stored = self.send(serve(settings), head("/v1/jobs", length), 7 * MB, temporary_bytes)

        assert (status, problem["type"]) == (413, "/problems/upload-too-large")
        assert stored <= 3 * MB

    def test_a_batch_with_a_key_is_accepted(
        self, serve: Callable[[Settings], int], settings: Settings, temporary_bytes: Callable[[], int]
    ) -> None:
        bearer = f"Bearer {add_key(settings, 'alice')}"
        image, parts = encoded(), b""
        for number in range(2):
            parts += (
                f'--x\r\nContent-Disposition: form-data; name="images"; filename="{number}.jpg"\r\n\r\n'.encode()
                + image
                + bytes(MB)  # Pillow ignores trailing bytes
                + b"\r\n"
            )
        parts += b"--x--\r\n"
        start = head("/v1/batches", len(parts), "multipart/form-data; boundary=x", Authorization=bearer)

        with socket.create_connection(("127.0.0.1", serve(settings))) as client:
            client.sendall(start + parts)
            status, batch = read_response(client)

        assert (status, batch["request_counts"]["queued"]) == (202, 2)

    def test_the_total_size_of_bodies_is_limited_for_all_addresses(
        self, serve: Callable[[Settings], int], settings: Settings, temporary_bytes: Callable[[], int]
    ) -> None:
        port, clients = serve(settings.model_copy(update={"host": "::"})), []
        addresses = ["127.0.0.1", "::1"] if socket.has_dualstack_ipv6() else ["127.0.0.1"]
        for number in range(5):  # 7 of 8 MB each
            client = socket.create_connection((addresses[number % len(addresses)], port))
            client.settimeout(60)
            client.sendall(head("/v1/batches", 8 * MB, "multipart/form-data; boundary=x") + bytes(7 * MB))
            clients.append(client)
        stored = temporary_bytes()
        statuses = []
        for client in clients:
            client.sendall(bytes(MB))
            statuses.append(read_response(client)[0])
            client.close()

        assert stored <= server.MAX_CONCURRENT_BATCHES * 8 * MB + 2 * MB
        assert statuses[0] in (400, 413), "the first body is received, and is no valid form"
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
def test_a_write_error_is_reported_and_logged(
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
        actual, problem = read_response(client)

    assert (actual, problem["status"]) == (status, status)
    assert problem["detail"].startswith(words)
    assert logged in caplog.text and logged not in problem["detail"]


def test_errors_of_waitress_are_problems(serve: Callable[[Settings], int], settings: Settings) -> None:
    port = serve(settings)
    for request, status in (
        (b"GET / HTTP/1.1\r\nX-Long: " + b"a" * 40_000 + b"\r\n\r\n", 431),
        (b"GET / HTTP/1.1\r\nno colon\r\n\r\n", 400),
        (b"POST / HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (head("/v1/jobs", 10**12), 413),
    ):
        with socket.create_connection(("127.0.0.1", port)) as client:
            client.sendall(request)
            actual, problem = read_response(client)

        assert (actual, problem["status"]) == (status, status)
        assert problem["detail"].endswith(".")


def test_errors_of_waitress_are_in_the_language_of_the_request(
    serve: Callable[[Settings], int], settings: Settings
) -> None:
    request = (
        b"POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nAccept-Language: ru\r\nContent-Length: 1000000000000\r\n\r\n"
    )
    with socket.create_connection(("127.0.0.1", serve(settings))) as client:
        client.sendall(request)
        status, problem = read_response(client)

    assert (status, problem["title"]) == (413, "Файл слишком большой")


def test_the_forwarded_address_is_used_only_behind_a_trusted_proxy(
    serve: Callable[[Settings], int], settings: Settings
) -> None:
    def second_status(settings: Settings) -> int:
        port = serve(settings)
        for _ in range(2):
            with socket.create_connection(("127.0.0.1", port)) as client:
                client.sendall(b"GET /v1/jobs HTTP/1.1\r\nHost: localhost\r\nX-Forwarded-For: 192.0.2.9\r\n\r\n")
                status, _ = read_response(client)
        return status

    limited = settings.model_copy(update={"reads_per_minute": 1})

    assert second_status(limited) == 200, "the loopback address is not limited"
    assert second_status(limited.model_copy(update={"trusted_proxies": 1})) == 429


@pytest.mark.parametrize(
    "request_line",
    [b"GET /healthz HTTP/1.0\r\n\r\n", b"GET /healthz HTTP/1.1\r\n\r\n", b"GET /healthz HTTP/1.1\r\nHost: web\r\n\r\n"],
    ids=["HTTP/1.0 without a Host", "HTTP/1.1 without a Host", "a container's name"],
)
def test_a_health_probe_may_send_any_host(
    serve: Callable[[Settings], int], settings: Settings, request_line: bytes
) -> None:
    with socket.create_connection(("127.0.0.1", serve(settings))) as client:
        client.sendall(request_line)

        assert read_response(client) == (200, {"status": "ok"})
