"""The web server: waitress, with limits on what a client may send before the application sees its request.

By itself, waitress receives a whole request, stores a long body in the temporary folder, and drops a client only when
it is silent. Here a body is stored only up to the size that its sender may send, and a slow request is dropped, so
that clients cannot exhaust the disk or the connections. A request that waits can ask whether its client has gone.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable
from functools import partial
from typing import Any

import waitress.server
from flask import Flask
from waitress.buffers import OverflowableBuffer
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.utilities import Error

from common import listening, problems, strict_json
from common.files import write_problem
from common.problems import CONTENT_TYPE, Kind, Problem
from common.settings import Settings
from common.translation import _
from web.body_limits import BATCH_OVERHEAD, max_body_bytes
from web.language import preferred_language
from web.services import THREADS

#: Bytes of a request line and its headers.
MAX_HEADER_BYTES = 32 * 1024
#: Seconds after which an idle connection is closed, and between two checks for idle connections.
IDLE_TIMEOUT, CLEANUP_INTERVAL = 60, 10
#: Concurrent connections: more than the threads, and few enough that each may have a temporary file.
MAX_CONNECTIONS = 256
#: Seconds in which a request must arrive, and the rate in bytes per second at which its body extends this time.
RECEIVE_TIMEOUT, MIN_RECEIVE_RATE = 20.0, 8 * 1024
#: Bytes of a body that are buffered in memory; a longer one goes to a temporary file.
MEMORY_BUFFER_BYTES = 512 * 1024
#: Bytes of a body between two checks of the total size of all bodies.
CAPACITY_CHECK_BYTES = 2**20
#: Maximum total size of all bodies, as a multiple of the largest batch. Further bodies are refused.
MAX_CONCURRENT_BATCHES = 2


def create_server(app: Flask, settings: Settings) -> Any:
    """A waitress server for `app`; raises `ListenError` if it cannot listen."""
    sockets: dict[int, Any] = {}
    server = waitress.server.create_server(
        app,
        map=sockets,
        sockets=listening.listen(settings.host, settings.port),
        threads=THREADS,
        max_request_header_size=MAX_HEADER_BYTES,
        max_request_body_size=settings.max_batch_bytes + BATCH_OVERHEAD,
        channel_timeout=IDLE_TIMEOUT,
        cleanup_interval=CLEANUP_INTERVAL,
        connection_limit=MAX_CONNECTIONS,
        asyncore_use_poll=True,
        # Without a trusted proxy, drop X-Forwarded headers, because any client can forge them.
        clear_untrusted_proxy_headers=not settings.trusted_proxies,
        ident=None,
    )
    max_bytes = partial(max_body_bytes, settings, app.extensions["captiond"].keyring)
    capacity = MAX_CONCURRENT_BATCHES * settings.max_batch_bytes
    listeners = [
        dispatcher for dispatcher in sockets.values() if isinstance(dispatcher, waitress.server.BaseWSGIServer)
    ]
    has_capacity = partial(_has_capacity, listeners, capacity)
    for listener in listeners:
        listener.channel_class = partial(_Channel, max_bytes=max_bytes, has_capacity=has_capacity)
    return server


class _Body(OverflowableBuffer):  # type: ignore[misc]
    """A request body. Once it exceeds `max_bytes`, or the capacity is used up, its bytes are counted and discarded.

    The rest is still received, so that the client can read the error response. `len` is the received length, so that
    the application refuses the body, too.
    """

    def __init__(self, max_bytes: int, has_capacity: Callable[[], bool]) -> None:
        super().__init__(MEMORY_BUFFER_BYTES)
        self._max_bytes = max_bytes
        self._has_capacity = has_capacity
        self._received = 0
        self._discarded = False
        self.problem: Problem | None = None

    @property
    def stored(self) -> int:
        """Bytes in memory and in the temporary file."""
        return 0 if self._discarded else self._received

    def append(self, data: bytes) -> None:
        before, self._received = self._received, self._received + len(data)
        if self._discarded:
            return
        if self._received > self._max_bytes:
            self._discard()
            return
        check_due = before // CAPACITY_CHECK_BYTES != self._received // CAPACITY_CHECK_BYTES
        if check_due and not self._has_capacity():
            self._refuse(
                problems.STORAGE_FULL(
                    "The server is receiving too much data at the moment. Nothing was stored; send this again later."
                )
            )
            return
        try:
            super().append(data)
        except OSError as error:
            self._refuse(write_problem(error))

    def __len__(self) -> int:
        return self._received

    def _refuse(self, problem: Problem) -> None:
        self.problem = problem
        self._discard()

    def _discard(self) -> None:
        self._discarded = True
        self.close()
        self.buf, self.strbuf = None, b""


class _Request(HTTPRequestParser):  # type: ignore[misc]
    """The parser of one request, whose body is a `_Body`."""

    def __init__(
        self, adj: Any, max_bytes: Callable[[str, dict[str, str]], int], has_capacity: Callable[[], bool]
    ) -> None:
        super().__init__(adj)
        self._max_bytes = max_bytes
        self._has_capacity = has_capacity
        self._started = time.monotonic()
        self.body: _Body | None = None

    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        if self.body_rcv is not None:
            self.body = self.body_rcv.buf = _Body(self._max_bytes(self.path, self.headers), self._has_capacity)

    def received(self, data: bytes) -> int:
        consumed: int = super().received(data)
        if self.completed and self.body is not None and self.body.problem:
            self.error = _ProblemError(self.body.problem, self._language())
        elif self.error is not None and not isinstance(self.error, _ProblemError):
            code, reason = self.error.code, self.error.reason
            kind = problems.UPLOAD_TOO_LARGE if code == 413 else Kind(problems.BAD_REQUEST.slug, code, reason)
            self.error = _ProblemError(
                kind(_("The request is too large, or it is not valid HTTP. Check how the client builds it.")),
                self._language(),
            )
        return consumed

    def _language(self) -> str:
        return preferred_language(self.headers.get("COOKIE"), self.headers.get("ACCEPT_LANGUAGE"))

    @property
    def timed_out(self) -> bool:
        """Whether the request took more than `RECEIVE_TIMEOUT` plus the extension by its body."""
        extension: float = self.body_bytes_received / MIN_RECEIVE_RATE
        return time.monotonic() - self._started > RECEIVE_TIMEOUT + extension


class _Channel(HTTPChannel):  # type: ignore[misc]
    """A connection that is closed when its request has timed out."""

    def __init__(
        self, *args: Any, max_bytes: Callable[..., int], has_capacity: Callable[[], bool], **kwargs: Any
    ) -> None:
        # waitress calls `parser_class` to create a request.
        self.parser_class = partial(_Request, max_bytes=max_bytes, has_capacity=has_capacity)
        super().__init__(*args, **kwargs)

    def readable(self) -> bool:
        """Close a timed-out connection. waitress calls this about once a second, even without data."""
        if self.request is not None and not self.requests and self.request.timed_out:
            self.will_close = True
        return bool(super().readable())

    def check_client_disconnected(self) -> bool:
        """Whether the client has closed the connection; `waitress.client_disconnected` of the request's environment.

        waitress knows it only if `channel_request_lookahead` lets it read during a request. Then each connection could
        hold the body of a further request, and a client that has closed only its sending side would get no response.
        """
        try:
            return not self.socket.recv(1, socket.MSG_PEEK)
        except BlockingIOError:  # open, without data
            return False
        except OSError:  # reset, or closed here
            return True


class _ProblemError(Error):  # type: ignore[misc]
    """A problem as an error of waitress."""

    def __init__(self, problem: Problem, language: str) -> None:
        super().__init__(problem.detail)
        self.code, self.reason = problem.status, problem.kind.title
        self._language = language
        self._body = problem.body(language)

    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:
        headers = [("Content-Type", CONTENT_TYPE), ("Content-Language", self._language)]
        return f"{self.code} {self.reason}", headers, strict_json.dumps(self._body).encode()


def _has_capacity(listeners: list[Any], capacity: int) -> bool:
    """Whether the stored bodies of all open requests take less than `capacity` bytes."""
    channels = [channel for listener in listeners for channel in list(listener.active_channels.values())]
    requests = [request for channel in channels for request in (channel.request, *channel.requests)]
    stored: int = sum(request.body.stored for request in requests if request is not None and request.body is not None)
    return stored < capacity
