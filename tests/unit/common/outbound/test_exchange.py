"""One request to a stranger's server: to the address that was checked, in bounded time, of bounded size."""

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

from common.outbound import NotAllowed, Outbound, TooLarge, Unreachable
from tests.support.receiver import Receiver, running_receiver, with_status

HOST = "pictures.example"
#: Seconds for requests that are answered at once.
ENOUGH = 30.0


class Names:
    """A resolver that knows one name, and counts how often it is asked."""

    def __init__(self, *addresses: str) -> None:
        self.addresses = list(addresses)
        self.asked: list[str] = []

    def __call__(self, host: str, seconds: float) -> list[str]:
        self.asked.append(host)
        return self.addresses


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture(scope="module")
def trusting(authority: trustme.CA) -> ssl.SSLContext:
    """What the client knows: this authority only."""
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
    """As a service with CAPTIOND_ALLOW_LOCAL_URLS has it."""
    return Outbound(True)


class TestTheAddressThatWasChecked:
    def test_it_is_the_one_that_is_asked_and_the_name_is_looked_up_once(
        self, server: Receiver, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        names = Names("127.0.0.1")
        outbound = Outbound(True, look_up=names)

        answer = outbound.request("GET", server.url("/dog.jpg?x=1", HOST), seconds=ENOUGH, limit=100)

        assert (answer.status, answer.body) == (200, b"a picture")
        assert names.asked == [HOST]
        (asked,) = server.requests
        assert (asked.target, asked.headers["Host"]) == ("/dog.jpg?x=1", f"{HOST}:{server.server_port}")

    @pytest.mark.parametrize(
        "addresses",
        [["127.0.0.1"], ["8.8.8.8", "127.0.0.1"], ["127.0.0.1", "8.8.8.8"], ["8.8.8.8", "::ffff:10.0.0.1"]],
    )
    def test_a_name_with_any_address_inside_is_not_connected_to(
        self, addresses: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        connections: list[object] = []
        monkeypatch.setattr(socket, "create_connection", lambda *args, **_: connections.append(args))
        outbound = Outbound(False, look_up=Names(*addresses))

        with pytest.raises(Unreachable, match="not public"):
            outbound.request("POST", f"https://{HOST}/", seconds=ENOUGH)
        assert connections == []

    def test_an_address_that_does_not_answer_leads_to_the_next(self, server: Receiver) -> None:
        outbound = Outbound(True, look_up=Names("127.0.0.99", "127.0.0.1"))

        assert outbound.request("GET", server.url("/", HOST), seconds=ENOUGH).status == 200

    def test_a_name_without_an_address_is_out_of_reach(self) -> None:
        with pytest.raises(Unreachable, match="no address"):
            Outbound(False, look_up=Names()).request("GET", f"https://{HOST}/", seconds=ENOUGH)

    def test_a_proxy_of_the_environment_is_not_asked(
        self, server: Receiver, local: Outbound, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with running_receiver(with_status(418)) as proxy:
            for name in ("http_proxy", "https_proxy", "all_proxy"):
                monkeypatch.setenv(name, proxy.url())

            assert local.request("GET", server.url(), seconds=ENOUGH).status == 200
        assert proxy.requests == []


class TestTls:
    def test_the_certificate_is_checked_for_the_name(self, authority: trustme.CA, trusting: ssl.SSLContext) -> None:
        with running_receiver(tls=certified(authority, HOST)) as server:
            outbound = Outbound(True, tls=trusting, look_up=Names("127.0.0.1"))

            assert outbound.request("GET", server.url("/", HOST), seconds=ENOUGH).status == 200
            assert server.requests[0].headers["Host"] == f"{HOST}:{server.server_port}"

    def test_a_certificate_for_another_name_is_refused(self, authority: trustme.CA, trusting: ssl.SSLContext) -> None:
        with running_receiver(tls=certified(authority, "another.example")) as server:
            outbound = Outbound(True, tls=trusting, look_up=Names("127.0.0.1"))

            with pytest.raises(Unreachable, match="certificate verify failed"):
                outbound.request("GET", server.url("/", HOST), seconds=ENOUGH)
        assert server.requests == []

    def test_a_certificate_of_nobody_known_is_refused(self, authority: trustme.CA) -> None:
        outbound = Outbound(True, look_up=Names("127.0.0.1"))
        with (
            running_receiver(tls=certified(authority, HOST)) as server,
            pytest.raises(Unreachable, match="certificate verify failed"),
        ):
            outbound.request("GET", server.url("/", HOST), seconds=ENOUGH)
        assert server.requests == []

    def test_a_server_that_speaks_no_tls_is_out_of_reach(self, server: Receiver, local: Outbound) -> None:
        with pytest.raises(Unreachable):
            local.request("GET", server.url().replace("http:", "https:"), seconds=ENOUGH)


class TestRedirects:
    def test_without_leave_one_is_the_answer(self, local: Outbound) -> None:
        with running_receiver(with_status(302, Location="/next")) as server:
            assert local.request("POST", server.url(), seconds=ENOUGH).status == 302
            assert len(server.requests) == 1

    def test_so_many_are_followed_and_no_more(self, local: Outbound) -> None:
        hops = [with_status(301, Location="b"), with_status(302, Location="/c"), with_status(200, b"there")]
        with running_receiver(*hops) as server:
            answer = local.request("GET", server.url("/x/a"), seconds=ENOUGH, limit=10, redirects=2)

            assert answer.body == b"there"
            assert [asked.target for asked in server.requests] == ["/x/a", "/x/b", "/c"]
        with running_receiver(with_status(307, Location="/again")) as server:
            with pytest.raises(Unreachable, match="too often"):
                local.request("GET", server.url(), seconds=ENOUGH, limit=10, redirects=2)
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
    def test_each_hop_is_checked_like_the_first(
        self, location: str, authority: trustme.CA, trusting: ssl.SSLContext, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The first host is made public by hand, for want of a public server."""
        real, connections = socket.create_connection, []

        def connect(address: tuple[str, int], timeout: float) -> socket.socket:
            connections.append(address)
            return real(("127.0.0.1", first.server_port), timeout=timeout)

        def look_up(host: str, seconds: float) -> list[str]:
            return {HOST: ["8.8.8.8"], "inside.example": ["10.0.0.1"]}[host]

        monkeypatch.setattr(socket, "create_connection", connect)
        with running_receiver(with_status(302, Location=location), tls=certified(authority, HOST)) as first:
            outbound = Outbound(False, tls=trusting, look_up=look_up)

            with pytest.raises(Unreachable):
                outbound.request("GET", f"https://{HOST}/", seconds=ENOUGH, limit=100, redirects=3)
        assert connections == [("8.8.8.8", 443)]
        assert first.requests[0].headers["Host"] == HOST


class TestBounds:
    def test_an_answer_of_just_the_limit_is_taken(self, local: Outbound) -> None:
        with running_receiver(with_status(200, bytes(1000))) as server:
            assert local.request("GET", server.url(), seconds=ENOUGH, limit=1000).body == bytes(1000)

    def test_a_larger_one_is_not(self, local: Outbound) -> None:
        with running_receiver(with_status(200, bytes(1001))) as server, pytest.raises(TooLarge):
            local.request("GET", server.url(), seconds=ENOUGH, limit=1000)

    def test_no_more_is_taken_than_an_answer_says_it_has(self, local: Outbound) -> None:
        with running_receiver(with_status(200, bytes(1001), Content_Length="5")) as server:
            assert local.request("GET", server.url(), seconds=ENOUGH, limit=1000).body == bytes(5)

    def test_an_answer_without_end_is_cut_at_the_limit(self, local: Outbound) -> None:
        def pour(handler: BaseHTTPRequestHandler) -> None:
            handler.send_response(200)
            handler.end_headers()
            while True:  # until the client hangs up
                handler.wfile.write(bytes(10_000))

        with running_receiver(pour) as server, pytest.raises(TooLarge):
            local.request("GET", server.url(), seconds=ENOUGH, limit=50_000)

    def test_an_answer_that_ends_early_is_none(self, local: Outbound) -> None:
        with (
            running_receiver(with_status(200, b"half", Content_Length="8")) as server,
            pytest.raises(Unreachable, match="too early"),
        ):
            local.request("GET", server.url(), seconds=ENOUGH, limit=100)

    def test_nothing_is_decompressed(self, local: Outbound) -> None:
        bomb = gzip.compress(bytes(1_000_000))
        with running_receiver(with_status(200, bomb, Content_Encoding="gzip")) as server:
            answer = local.request("GET", server.url(), seconds=ENOUGH, limit=10_000)

            assert answer.body == bomb
            assert server.requests[0].headers["Accept-Encoding"] == "identity"

    def test_a_body_that_nobody_wants_is_not_read(self, local: Outbound) -> None:
        with running_receiver(with_status(200, bytes(1000))) as server:
            assert local.request("POST", server.url(), seconds=ENOUGH, body=b"{}").body == b""
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
    def test_a_server_that_sends_a_byte_now_and_then_is_left_at_the_deadline(self, scheme: str, start: bytes) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        leaving = threading.Event()

        def drip() -> None:
            with listener, listener.accept()[0] as line:
                line.sendall(start)
                try:
                    while not leaving.wait(0.02):
                        line.sendall(b"\x16")
                except OSError:
                    pass

        dripping = threading.Thread(target=drip)
        dripping.start()
        began = time.monotonic()
        url = f"{scheme}://127.0.0.1:{listener.getsockname()[1]}/"

        with pytest.raises(Unreachable, match="too long"):
            Outbound(True).request("GET", url, seconds=0.5, limit=10**9)
        took = time.monotonic() - began
        leaving.set()
        dripping.join()
        assert took < 10

    @pytest.mark.parametrize(
        "line", [b"SSH-2.0-OpenSSH\r\n", b"", b"HTTP/1.1 nonsense\r\n\r\n", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 200]
    )
    def test_what_is_not_http_is_out_of_reach_and_not_quoted(self, line: bytes) -> None:
        listener = socket.create_server(("127.0.0.1", 0))

        def speak() -> None:
            with listener, listener.accept()[0] as connection:
                connection.recv(1000)
                connection.sendall(line)

        speaking = threading.Thread(target=speak)
        speaking.start()
        with pytest.raises(Unreachable) as refused:
            Outbound(True).request("GET", f"http://127.0.0.1:{listener.getsockname()[1]}/", seconds=ENOUGH)
        speaking.join()
        assert "SSH" not in str(refused.value)

    def test_nobody_there_is_out_of_reach(self, local: Outbound) -> None:
        with socket.create_server(("127.0.0.1", 0)) as closed:
            url = f"http://127.0.0.1:{closed.getsockname()[1]}/"
        with pytest.raises(Unreachable):
            local.request("GET", url, seconds=ENOUGH)


def test_a_url_that_is_not_allowed_is_not_looked_up() -> None:
    names = Names("8.8.8.8")

    with pytest.raises(NotAllowed):
        Outbound(False, look_up=names).request("GET", f"http://{HOST}/", seconds=ENOUGH)
    assert names.asked == []
