"""A request goes only to the checked address, within a time limit, and reads a response of limited size."""

from __future__ import annotations

import gzip
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler

import pytest
import trustme

from common.outbound import Outbound, ResponseTooLarge, Unreachable, UrlNotAllowed
from tests.support.receiver import Receiver, running_receiver, with_status

HOST = "pictures.example"
#: Timeout in seconds of requests that are answered at once.
TIMEOUT = 30.0


class FakeResolver:
    """A resolver that returns fixed addresses and records its queries."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)
        self.queries: list[str] = []

    def __call__(self, host: str, timeout: float) -> list[str]:
        self.queries.append(host)
        return self.addresses


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """A client context that trusts only this authority."""
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return context


def certified(authority: trustme.CA, name: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(context)
    return context


@pytest.fixture
def server() -> Iterator[Receiver]:
    with running_receiver(with_status(200, b"a picture")) as running:
        yield running


@pytest.fixture
def local() -> Outbound:
    """A client with CAPTIOND_ALLOW_LOCAL_URLS."""
    return Outbound(True)


class TestAddress:
    def test_the_name_is_resolved_once_and_the_result_is_connected_to(
        self, server: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        resolver = FakeResolver("127.0.0.1")
        outbound = Outbound(True, resolve=resolver)

        answer = outbound.request("GET", server.url("/dog.jpg?x=1", HOST), timeout=TIMEOUT, max_bytes=100)

        assert (answer.status, answer.body) == (200, b"a picture")
        assert resolver.queries == [HOST]
        (asked,) = server.requests
        assert (asked.target, asked.headers["Host"]) == ("/dog.jpg?x=1", f"{HOST}:{server.server_port}")

    @pytest.mark.parametrize(
        "addresses",
        [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["127.0.0.1", "8.8.8.8"], ["8.8.8.8", "::ffff:10.0.0.1"]],
    )
    def test_a_name_with_any_private_address_is_refused(
        self, addresses: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connections: list[object] = []
        monkeypatch.setattr(socket, "create_connection", lambda *args, **_: connections.append(args))
        outbound = Outbound(False, resolve=FakeResolver(*addresses))

        with pytest.raises(Unreachable, match="not public"):
            outbound.request("POST", f"https://{HOST}/", timeout=TIMEOUT)
        assert connections == []

    def test_the_next_address_is_tried_if_one_refuses_the_connection(self, server: Receiver) -> None:
        outbound = Outbound(True, resolve=FakeResolver("127.0.0.99", "127.0.0.1"))

        assert outbound.request("GET", server.url("/", HOST), timeout=TIMEOUT).status == 200

    def test_a_name_without_an_address_is_unreachable(self) -> None:
        with pytest.raises(Unreachable, match="no address"):
            Outbound(False, resolve=FakeResolver()).request("GET", f"https://{HOST}/", timeout=TIMEOUT)

    def test_proxies_from_the_environment_are_ignored(
        self, server: Receiver, local: Outbound, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with running_receiver(with_status(418)) as proxy:
            for name in ("http_proxy", "https_proxy", "all_proxy"):
                monkeypatch.setenv(name, proxy.url())

            assert local.request("GET", server.url(), timeout=TIMEOUT).status == 200
        assert proxy.requests == []


class TestTls:
    def test_the_certificate_is_checked_for_the_name(self, authority: trustme.CA, trusting: ssl.SSLContext) -> None:
        with running_receiver(tls=certified(authority, HOST)) as server:
            outbound = Outbound(True, tls=trusting, resolve=FakeResolver("127.0.0.1"))

            assert outbound.request("GET", server.url("/", HOST), timeout=TIMEOUT).status == 200
            assert server.requests[0].headers["Host"] == f"{HOST}:{server.server_port}"

    def test_a_certificate_for_another_name_is_refused(self, authority: trustme.CA, trusting: ssl.SSLContext) -> None:
        with running_receiver(tls=certified(authority, "another.example")) as server:
            outbound = Outbound(True, tls=trusting, resolve=FakeResolver("127.0.0.1"))

            with pytest.raises(Unreachable, match="certificate verify failed"):
                outbound.request("GET", server.url("/", HOST), timeout=TIMEOUT)
        assert server.requests == []

    def test_a_certificate_of_an_unknown_authority_is_refused(self, authority: trustme.CA) -> None:
        outbound = Outbound(True, resolve=FakeResolver("127.0.0.1"))
        with (
            running_receiver(tls=certified(authority, HOST)) as server,
            pytest.raises(Unreachable, match="certificate verify failed"),
        ):
            outbound.request("GET", server.url("/", HOST), timeout=TIMEOUT)
        assert server.requests == []

    def test_a_server_without_tls_is_unreachable(self, server: Receiver, local: Outbound) -> None:
        with pytest.raises(Unreachable):
            local.request("GET", server.url().replace("http:", "https:"), timeout=TIMEOUT)


class TestRedirects:
    def test_a_redirect_is_returned_by_default(self, local: Outbound) -> None:
        with running_receiver(with_status(302, Location="/next")) as server:
            assert local.request("POST", server.url(), timeout=TIMEOUT).status == 302
            assert len(server.requests) == 1

    def test_redirects_are_followed_up_to_the_maximum(self, local: Outbound) -> None:
        hops = [with_status(301, Location="b"), with_status(302, Location="/c"), with_status(200, b"there")]
        with running_receiver(*hops) as server:
            answer = local.request("GET", server.url("/x/a"), timeout=TIMEOUT, max_bytes=10, max_redirects=2)

            assert answer.body == b"there"
            assert [asked.target for asked in server.requests] == ["/x/a", "/x/b", "/c"]
        with running_receiver(with_status(307, Location="/again")) as server:
            with pytest.raises(Unreachable, match="too often"):
                local.request("GET", server.url(), timeout=TIMEOUT, max_bytes=10, max_redirects=2)
            assert len(server.requests) == 3

    @pytest.mark.parametrize(
        "location",
        [
            "https://169.254.169.254/latest/meta-data/",
            "//127.0.0.1/",
            "http://example.com/",
            "https://inside.example/",
            "file:///etc/passwd",
            "https://user@example.com/",
            "//[",
        ],
    )
    def test_each_redirect_is_checked_like_the_first_url(
        self, location: str, authority: trustme.CA, trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The connection to the first host's public address is diverted to a local server."""
        real, connections = socket.create_connection, []

        def connect(address: tuple[str, int], timeout: float) -> socket.socket:
            connections.append(address)
            return real(("127.0.0.1", first.server_port), timeout=timeout)

        def resolve(host: str, timeout: float) -> list[str]:
            return {HOST: ["8.8.8.8"], "inside.example": ["10.0.0.1"]}[host]

        monkeypatch.setattr(socket, "create_connection", connect)
        with running_receiver(with_status(302, Location=location), tls=certified(authority, HOST)) as first:
            outbound = Outbound(False, tls=trusting, resolve=resolve)

            with pytest.raises(Unreachable):
                outbound.request("GET", f"https://{HOST}/", timeout=TIMEOUT, max_bytes=100, max_redirects=3)
        assert connections == [("8.8.8.8", 443)]
        assert first.requests[0].headers["Host"] == HOST


class TestLimits:
    def test_a_body_of_exactly_the_maximum_is_read(self, local: Outbound) -> None:
        with running_receiver(with_status(200, bytes(1000))) as server:
            assert local.request("GET", server.url(), timeout=TIMEOUT, max_bytes=1000).body == bytes(1000)

    def test_a_larger_body_is_refused(self, local: Outbound) -> None:
        with running_receiver(with_status(200, bytes(1001))) as server, pytest.raises(ResponseTooLarge):
            local.request("GET", server.url(), timeout=TIMEOUT, max_bytes=1000)

    def test_only_content_length_bytes_are_read(self, local: Outbound) -> None:
        with running_receiver(with_status(200, bytes(1001), Content_Length="5")) as server:
            assert local.request("GET", server.url(), timeout=TIMEOUT, max_bytes=1000).body == bytes(5)

    def test_an_endless_body_is_refused_at_the_maximum(self, local: Outbound) -> None:
        def pour(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.end_headers()
            while True:  # until the client disconnects
                handler.wfile.write(bytes(10_000))

        with running_receiver(pour) as server, pytest.raises(ResponseTooLarge):
            local.request("GET", server.url(), timeout=TIMEOUT, max_bytes=50_000)

    def test_a_body_that_ends_early_is_an_error(self, local: Outbound) -> None:
        with (
            running_receiver(with_status(200, b"half", Content_Length="8")) as server,
            pytest.raises(Unreachable, match="too early"),
        ):
            local.request("GET", server.url(), timeout=TIMEOUT, max_bytes=100)

    def test_a_compressed_body_is_not_decompressed(self, local: Outbound) -> None:
        bomb = gzip.compress(bytes(1_000_000))
        with running_receiver(with_status(200, bomb, Content_Encoding="gzip")) as server:
            answer = local.request("GET", server.url(), timeout=TIMEOUT, max_bytes=10_000)

            assert answer.body == bomb
            assert server.requests[0].headers["Accept-Encoding"] == "identity"

    def test_the_body_is_not_read_by_default(self, local: Outbound) -> None:
        with running_receiver(with_status(200, bytes(1000))) as server:
            assert local.request("POST", server.url(), timeout=TIMEOUT, body=b"{}").body == b""
            assert (server.requests[0].method, server.requests[0].body) == ("POST", b"{}")

    @pytest.mark.parametrize(
        ("scheme", "start"),
        [
            ("http", b""),
            ("http", b"HTTP/1.1 200 OK\r\nX: "),
            ("http", b"HTTP/1.1 200 OK\r\n\r\n"),
            ("https", b"\x16\x03\x03\x40\x00"),  # the head of a long handshake record
        ],
    )
    def test_a_server_that_sends_single_bytes_is_disconnected_at_the_deadline(self, scheme: str, start: bytes) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        stop = threading.Event()

        def drip() -> None:
            with listener, listener.accept()[0] as sock:
                sock.sendall(start)
                try:
                    while not stop.wait(0.02):
                        sock.sendall(b"\x16")
                except OSError:
                    pass

        sender = threading.Thread(target=drip)
        sender.start()
        began = time.monotonic()
        url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/"

        with pytest.raises(Unreachable, match="too long"):
            Outbound(True).request("GET", url, timeout=0.5, max_bytes=10**9)
        elapsed = time.monotonic() - began
        stop.set()
        sender.join()
        assert elapsed < 10

    def test_abort_ends_an_exchange_in_progress(self, local: Outbound) -> None:
        def hold(handler: BaseHTTPRequestHandler) -> None:
            local.abort()
            handler.rfile.read(1)  # until the client closes the connection

        with running_receiver(hold) as server:
            began = time.monotonic()
            with pytest.raises(Unreachable):
                local.request("GET", server.url(), timeout=30, max_bytes=100)
        assert time.monotonic() - began < 5

    @pytest.mark.parametrize(
        ("value", "seconds"),
        [("30", 30.0), ("Tue, 14 Nov 2023 22:14:20 GMT", 60.0), ("Tue, 14 Nov 2023 22:00:00 GMT", 0.0), ("soon", 0.0)],
    )
    def test_retry_after_is_a_number_of_seconds_or_a_time(self, local: Outbound, value: str, seconds: float) -> None:
        with running_receiver(with_status(429, Retry_After=value)) as server:
            response = local.request("GET", server.url(), timeout=10)

        assert response.retry_after(1_700_000_000.0) == seconds

    @pytest.mark.parametrize(
        "data", [b"SSH-2.0-OpenSSH\r\n", b"", b"HTTP/1.1 nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200]
    )
    def test_a_response_that_is_not_http_is_not_quoted(self, data: bytes) -> None:
        listener = socket.create_server(("127.0.0.1", 0))

        def speak() -> None:
            with listener, listener.accept()[0] as connection:
                connection.recv(1000)
                connection.sendall(data)

        speaker = threading.Thread(target=speak)
        speaker.start()
        with pytest.raises(Unreachable) as refused:
            Outbound(True).request("GET", f"http://127.0.0.1:{listener.getsockname()[1]}/", timeout=TIMEOUT)
        speaker.join()
        assert "SSH" not in str(refused.value)

    def test_a_closed_port_is_unreachable(self, local: Outbound) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        with pytest.raises(Unreachable):
            local.request("GET", url, timeout=TIMEOUT)


def test_a_refused_url_is_not_resolved() -> None:
    resolver = FakeResolver("8.8.8.8")

    with pytest.raises(UrlNotAllowed):
        Outbound(False, resolve=resolver).request("GET", f"http://{HOST}/", timeout=TIMEOUT)
    assert resolver.queries == []
