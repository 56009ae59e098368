"""The web server: waitress, with bounds on what it takes in before the application sees a request.

waitress receives a request whole, keeps a long body in the temporary folder, and drops a client only when it is
silent. So that neither disk nor connections can be used up by whoever reaches the port, a body is kept here only as
far as its sender may send it, and a request that comes too slowly is dropped.
"""

from __future__ import annotations

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
from web.body_limits import BATCH_OVERHEAD, largest_body
from web.services import THREADS

#: Bytes of a request's first line and headers.
LONGEST_HEADER = 32 * 1024
#: Seconds after which a silent client is dropped, and between two looks for such clients.
SILENCE, LOOK = 60, 10
#: Connections at once: well above the threads, and few enough that each may have a temporary file.
CONNECTIONS = 256
#: Seconds a request may take to come in, and bytes a second at which a body earns it more.
GRACE, SLOWEST = 20.0, 8 * 1024
#: Bytes of a body that are kept in memory.
IN_MEMORY = 512 * 1024
#: Bytes after which a body that comes in asks again whether there is room for more.
STEP = 2**20
#: As many of the largest batches may be under way at once; further bodies are refused while they are.
BATCHES_AT_ONCE = 2


def make(app: Flask, settings: Settings) -> Any:
    """A server for `app`, whose `run()` serves until the process is told to stop; raises `ListenError`."""
    sockets: dict[int, Any] = {}
    server = waitress.server.create_server(
        app,
        map=sockets,
        sockets=listening.listen(settings.host, settings.port),
        threads=THREADS,
        max_request_header_size=LONGEST_HEADER,
        max_request_body_size=settings.max_batch_bytes + BATCH_OVERHEAD,
        channel_timeout=SILENCE,
        cleanup_interval=LOOK,
        connection_limit=CONNECTIONS,
        asyncore_use_poll=True,
        # Without a proxy that is trusted, what a client says of itself in X-Forwarded-For is dropped at once.
        clear_untrusted_proxy_headers=not settings.trusted_proxies,
        ident=None,
    )
    most = partial(largest_body, settings, app.extensions["captiond"].keyring)
    room = BATCHES_AT_ONCE * settings.max_batch_bytes
    listeners = [each for each in sockets.values() if isinstance(each, waitress.server.BaseWSGIServer)]
    for listener in listeners:
        listener.channel_class = partial(_Channel, most=most, has_room=partial(_has_room, listeners, room))
    return server


class _Body(OverflowableBuffer):  # type: ignore[misc]
    """A request's body: kept up to `most` bytes and while there is room, beyond that counted and thrown away.

    Taking it in to its end, instead of hanging up, lets the client hear why it was refused; its length is told as it
    came, so that the application refuses it, too.
    """

    def __init__(self, most: int, has_room: Callable[[], bool]) -> None:
        super().__init__(IN_MEMORY)
        self._most = most
        self._has_room = has_room
        self._came = 0
        self._dropped = False
        self.problem: Problem | None = None

    @property
    def kept(self) -> int:
        return 0 if self._dropped else self._came

    def append(self, data: bytes) -> None:
        before, self._came = self._came, self._came + len(data)
        if self._dropped:
            return
        if self._came > self._most:
            self._drop()
            return
        if before // STEP != self._came // STEP and not self._has_room():
            self._refuse(
                problems.STORAGE_FULL("Too much is being sent at the moment. Nothing was kept; send it again later.")
            )
            return
        try:
            super().append(data)
        except OSError as error:
            self._refuse(write_problem(error))

    def __len__(self) -> int:
        return self._came

    def _refuse(self, problem: Problem) -> None:
        self.problem = problem
        self._drop()

    def _drop(self) -> None:
        self._dropped = True
        self.close()
        self.buf, self.strbuf = None, b""


class _Request(HTTPRequestParser):  # type: ignore[misc]
    """A request that comes in."""

    def __init__(self, adj: Any, most: Callable[[str, dict[str, str]], int], has_room: Callable[[], bool]) -> None:
        super().__init__(adj)
        self._most = most
        self._has_room = has_room
        self._begun = time.monotonic()
        self.body: _Body | None = None

    def parse_header(self, header_plus: bytes) -> None:
        super().parse_header(header_plus)
        if self.body_rcv is not None:
            self.body = self.body_rcv.buf = _Body(self._most(self.path, self.headers), self._has_room)

    def received(self, data: bytes) -> int:
        taken: int = super().received(data)
        if self.completed and self.body is not None and self.body.problem:
            self.error = _Refusal(self.body.problem)
        elif self.error is not None and not isinstance(self.error, _Refusal):
            code, reason = self.error.code, self.error.reason
            kind = problems.UPLOAD_TOO_LARGE if code == 413 else Kind(problems.BAD_REQUEST.slug, code, reason)
            self.error = _Refusal(
                kind("The request is longer than what is accepted here, or not as HTTP is. Check how it was built.")
            )
        return taken

    @property
    def late(self) -> bool:
        earned: float = self.body_bytes_received / SLOWEST
        return time.monotonic() - self._begun > GRACE + earned


class _Channel(HTTPChannel):  # type: ignore[misc]
    """A connection."""

    def __init__(self, *args: Any, most: Callable[..., int], has_room: Callable[[], bool], **kwargs: Any) -> None:
        # waitress makes its requests with this, as it would with the class.
        self.parser_class = partial(_Request, most=most, has_room=has_room)
        super().__init__(*args, **kwargs)

    def readable(self) -> bool:
        """Asked about once a second, whether something came or not."""
        if self.request is not None and not self.requests and self.request.late:
            self.will_close = True
        return bool(super().readable())


class _Refusal(Error):  # type: ignore[misc]
    """waitress' own errors as what this service answers everywhere."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.code, self.reason = problem.status, problem.kind.title
        self._body = problem.body()

    def to_response(self, ident: str | None = None) -> tuple[str, list[tuple[str, str]], bytes]:
        return f"{self.code} {self.reason}", [("Content-Type", CONTENT_TYPE)], strict_json.dumps(self._body).encode()


def _has_room(listeners: list[Any], room: int) -> bool:
    """Whether the bodies of all requests that come in or are being answered take less than `room` bytes."""
    channels = [channel for listener in listeners for channel in list(listener.active_channels.values())]
    requests = [request for channel in channels for request in (channel.request, *channel.requests)]
    kept: int = sum(request.body.kept for request in requests if request is not None and request.body is not None)
    return kept < room
