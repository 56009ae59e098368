"""One request to a place that a stranger named, and its answer, in bounded time and of bounded size."""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.message import Message
from functools import cached_property
from http.client import HTTPConnection, HTTPException, HTTPResponse
from urllib.parse import urljoin

from common.outbound.addresses import is_public, look_up
from common.outbound.places import NotAllowed, Place, read_url

#: Seconds that a connection, and each read or write on it, may take within the deadline.
CONNECT_SECONDS = 5.0
SILENCE_SECONDS = 10.0
#: Addresses of a host that are tried, one after another.
TRIES = 3
REDIRECTS = frozenset({301, 302, 303, 307, 308})
#: As nothing is decompressed, an answer takes no more memory than it had bytes on its way.
HEADERS = {"User-Agent": "captiond", "Accept-Encoding": "identity", "Connection": "close"}

#: The addresses of a host, found within so many seconds, or `OSError`.
LookUp = Callable[[str, float], list[str]]


class Unreachable(Exception):
    """No answer came, or no request was made; the message is for the log, as it says more than a stranger may know."""


class TooLarge(Exception):
    """The answer is larger than was asked for."""


@dataclass(frozen=True)
class Answer:
    """What the place answered."""

    status: int
    headers: Message
    body: bytes


class Outbound:
    """The one way out of this service to places that strangers name.

    `allow_local` admits http, any port and addresses that are not public. Neither proxies nor passwords are taken from
    the environment.
    """

    def __init__(self, allow_local: bool, *, tls: ssl.SSLContext | None = None, look_up: LookUp = look_up) -> None:
        self._allow_local = allow_local
        self._given_tls = tls
        self._look_up = look_up

    @cached_property
    def _tls(self) -> ssl.SSLContext:
        """The system's certificates, which take a moment to load, so that only who needs them waits for it."""
        return self._given_tls or ssl.create_default_context()

    def place(self, url: str) -> Place:
        """The place of `url`, by its text alone; raises `NotAllowed`."""
        return read_url(url, allow_local=self._allow_local)

    def request(
        self,
        method: str,
        url: str,
        *,
        seconds: float,
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        limit: int = 0,
        redirects: int = 0,
    ) -> Answer:
        """The answer, with at most `limit` bytes of its body, after following at most so many `redirects`.

        All of it takes at most `seconds`. Without a `limit` the body is not read, without `redirects` one is the
        answer. Raises `NotAllowed`, `Unreachable` and `TooLarge`.
        """
        ends = time.monotonic() + seconds
        place = self.place(url)
        for _ in range(redirects + 1):
            answer = self._ask(method, place, ends, body, {**HEADERS, **(headers or {})}, limit)
            location = answer.headers["Location"]
            if not redirects or answer.status not in REDIRECTS or not location:
                return answer
            try:
                url = urljoin(url, location)
                place = self.place(url)
            except (NotAllowed, ValueError) as error:
                raise Unreachable("it redirects to where no request goes") from error
        raise Unreachable("it redirects too often")

    def _ask(
        self, method: str, place: Place, ends: float, body: bytes | None, headers: dict[str, str], limit: int
    ) -> Answer:
        try:
            with self._connected(place, ends) as line, _cut_off(line, ends):
                stream = self._tls.wrap_socket(line, server_hostname=place.host) if place.secure else line
                with contextlib.closing(stream):
                    connection = HTTPConnection(place.host, place.port)
                    connection.sock = stream
                    connection.auto_open = 0  # it would look the name up again
                    connection.request(method, place.target, body, {"Host": place.authority, **headers})
                    with connection.getresponse() as response:
                        return Answer(response.status, response.headers, _read(response, limit, ends))
        except (OSError, HTTPException, ValueError) as error:
            # Not what an HTTPException says: it quotes what came.
            why = "its answer is not HTTP" if isinstance(error, HTTPException) else str(error) or type(error).__name__
            raise Unreachable("it took too long" if time.monotonic() >= ends else why) from error

    @contextlib.contextmanager
    def _connected(self, place: Place, ends: float) -> Iterator[socket.socket]:
        """A connection to one of the host's addresses, all of which were checked."""
        addresses = self._look_up(place.host, ends - time.monotonic())
        if not self._allow_local and not all(map(is_public, addresses)):
            raise Unreachable("its host has an address that is not public")
        trouble: OSError = OSError("its host has no address")
        for address in addresses[:TRIES]:
            seconds = min(CONNECT_SECONDS, ends - time.monotonic())
            try:
                line = socket.create_connection((address, place.port), timeout=max(seconds, 0.001))
            except OSError as error:
                trouble = error
                continue
            with line:
                line.settimeout(SILENCE_SECONDS)
                yield line
            return
        raise trouble


@contextlib.contextmanager
def _cut_off(line: socket.socket, ends: float) -> Iterator[None]:
    """Hang up at `ends`: a server that sends a byte now and then would satisfy a timeout of each read for ever."""
    handle = line.dup()  # TLS takes the socket itself over

    def hang_up() -> None:
        with contextlib.suppress(OSError):
            handle.shutdown(socket.SHUT_RDWR)

    timer = threading.Timer(max(ends - time.monotonic(), 0), hang_up)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
        handle.close()


def _read(response: HTTPResponse, limit: int, ends: float) -> bytes:
    if not limit:
        return b""
    if (response.length or 0) > limit:
        raise TooLarge
    data = response.read(limit + 1)
    if len(data) > limit:
        raise TooLarge
    if response.length or time.monotonic() >= ends:
        raise OSError("the answer ended too early")
    return data
