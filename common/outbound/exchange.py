"""Sends an HTTP request to a client's URL, and reads the response, with limits of time and size."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC
from email.message import Message
from email.utils import parsedate_to_datetime
from functools import cached_property
from http.client import HTTPConnection, HTTPException, HTTPResponse
from urllib.parse import urljoin

from common.outbound.addresses import is_public, resolve
from common.outbound.targets import Target, UrlNotAllowed, parse_url

#: Timeouts in seconds of connecting, and of each read and write by default. The deadline applies in addition.
CONNECT_TIMEOUT = 5.0
READ_TIMEOUT = 10.0
#: Largest number of a host's addresses that are tried in order.
MAX_ADDRESSES = 3
REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
#: Responses are not decompressed, so that their size in memory is their size on the network.
HEADERS = {"User-Agent": "captiond", "Accept-Encoding": "identity", "Connection": "close"}

#: Returns the addresses of a host within a timeout in seconds, or raises `OSError`.
Resolver = Callable[[str, float], list[str]]


class Unreachable(Exception):
    """The request failed or was not sent. The message is for the log only, because it may contain internal details."""


class ResponseTooLarge(Exception):
    """The response body is larger than `max_bytes`."""


@dataclass(frozen=True)
class Response:
    """An HTTP response."""

    status: int
    headers: Message
    body: bytes

    def retry_after(self, now: float) -> float:
        """Seconds from `now`, a Unix time, to the time of Retry-After; 0 without a valid one."""
        value = self.headers["Retry-After"] or ""
        if value.isascii() and value.isdigit():
            return float(value[:9])
        try:
            at = parsedate_to_datetime(value)
        except ValueError:
            return 0.0
        return max(at.replace(tzinfo=at.tzinfo or UTC).timestamp() - now, 0.0)


class Outbound:
    """HTTP client for URLs from clients, and for the server of a model. All such requests of the service use it.

    `allow_local` allows http, any port and addresses that are not public. `read_timeout` is the timeout in seconds of
    each read and write. Proxies and passwords from the environment are ignored.
    """

    def __init__(
        self,
        allow_local: bool,
        *,
        read_timeout: float = READ_TIMEOUT,
        tls: ssl.SSLContext | None = None,
        resolve: Resolver = resolve,
    ) -> None:
        self._allow_local = allow_local
        self._read_timeout = read_timeout
        self._given_tls = tls
        self._resolve = resolve
        #: Sockets of the exchanges in progress.
        self._sockets: set[socket.socket] = set()

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """The system's certificates, loaded at first use because loading takes time."""
        return self._given_tls or ssl.create_default_context()

    def parse_url(self, url: str) -> Target:
        """Parse and check a URL without resolving its host. Raises `UrlNotAllowed`."""
        return parse_url(url, allow_local=self._allow_local)

    def request(
        self,
        method: str,
        url: str,
        *,
        timeout: float,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        max_bytes: int = 0,
        max_redirects: int = 0,
    ) -> Response:
        """Send a request, follow at most `max_redirects` redirects, and return the response.

        The whole exchange takes at most `timeout` seconds. If `max_bytes` is 0, the body is not read. If
        `max_redirects` is 0, a redirect is returned as the response. Raises `UrlNotAllowed`, `Unreachable`, and
        `ResponseTooLarge` for a body of more than `max_bytes`.
        """
        deadline = time.monotonic() + timeout
        target = self.parse_url(url)
        for _ in range(max_redirects + 1):
            response = self._send(method, target, deadline, body, {**HEADERS, **(headers or {})}, max_bytes)
            location = response.headers["Location"]
            if not max_redirects or response.status not in REDIRECT_STATUSES or not location:
                return response
            try:
                url = urljoin(url, location)
                target = self.parse_url(url)
            except (UrlNotAllowed, ValueError) as error:
                raise Unreachable("it redirects to a URL that is not allowed") from error
        raise Unreachable("it redirects too often")

    def abort(self) -> None:
        """End the exchanges in progress, which raise `Unreachable`."""
        for sock in self._sockets.copy():
            _shut_down(sock)

    def _send(
        self, method: str, target: Target, deadline: float, body: bytes | None, headers: dict[str, str], max_bytes: int
    ) -> Response:
        try:
            with self._connect(target, deadline) as sock, self._shut_down_at(sock, deadline):
                stream = self._tls.wrap_socket(sock, server_hostname=target.host) if target.secure else sock
                with contextlib.closing(stream):
                    connection = HTTPConnection(target.host, target.port)
                    connection.sock = stream
                    connection.auto_open = 0  # otherwise it might resolve the name again
                    connection.request(method, target.path, body, {"Host": target.authority, **headers})
                    with connection.getresponse() as response:
                        return Response(response.status, response.headers, _read_body(response, max_bytes, deadline))
        except (OSError, HTTPException, ValueError) as error:
            # The message of an HTTPException is not used, because it quotes the response.
            reason = (
                "its answer is not HTTP" if isinstance(error, HTTPException) else str(error) or type(error).__name__
            )
            raise Unreachable("it took too long" if time.monotonic() >= deadline else reason) from error

    @contextlib.contextmanager
    def _connect(self, target: Target, deadline: float) -> Iterator[socket.socket]:
        """Connect to one of the host's addresses. Raises `Unreachable` if any of them is not public."""
        addresses = self._resolve(target.host, deadline - time.monotonic())
        if not self._allow_local and not all(map(is_public, addresses)):
            raise Unreachable("its host has an address that is not public")
        last_error: OSError = OSError("its host has no address")
        for address in addresses[:MAX_ADDRESSES]:
            remaining = min(CONNECT_TIMEOUT, deadline - time.monotonic())
            try:
                sock = socket.create_connection((address, target.port), timeout=max(remaining, 0.001))
            except OSError as error:
                last_error = error
                continue
            with sock:
                sock.settimeout(self._read_timeout)
                yield sock
            return
        raise last_error

    @contextlib.contextmanager
    def _shut_down_at(self, sock: socket.socket, deadline: float) -> Iterator[None]:
        """Shut the socket down at the deadline, because single bytes sent in time never exceed the read timeout."""
        handle = sock.dup()  # TLS takes over the socket itself
        timer = threading.Timer(max(deadline - time.monotonic(), 0), _shut_down, (handle,))
        timer.daemon = True
        timer.start()
        self._sockets.add(handle)
        try:
            yield
        finally:
            self._sockets.discard(handle)
            timer.cancel()
            handle.close()


def _shut_down(sock: socket.socket) -> None:
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)


def _read_body(response: HTTPResponse, max_bytes: int, deadline: float) -> bytes:
    if not max_bytes:
        return b""
    if (response.length or 0) > max_bytes:
        raise ResponseTooLarge
    data = response.read(max_bytes + 1)
    if len(data) > max_bytes:
        raise ResponseTooLarge
    if response.length or time.monotonic() >= deadline:
        raise OSError("the answer ended too early")
    return data
