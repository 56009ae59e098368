"""An HTTP server with programmed responses, which records the requests that it receives."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

#: Sends the response to one request.
Responder = Callable[[BaseHTTPRequestHandler], None]


@dataclass(frozen=True)
class ReceivedRequest:
    """A recorded request; `target` is its path with the query."""

    method: str
    target: str
    headers: Message
    body: bytes


def with_status(status: int, body: bytes = b"", **headers: str) -> Responder:
    """A responder with this status, body and headers; `_` in a header's name stands for `-`."""

    def respond(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        with contextlib.suppress(ConnectionError):  # the client may close the connection early
            handler.wfile.write(body)

    return respond


class Receiver(ThreadingHTTPServer):
    """Responds with each of `responders` in turn; the last one is repeated. The default is a 200."""

    daemon_threads = True

    def __init__(self, *responders: Responder, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.responders = list(responders) or [with_status(200)]
        self.requests: list[ReceivedRequest] = []
        self._scheme = "https" if tls else "http"
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def url(self, target: str = "/", host: str = "127.0.0.1") -> str:
        return f"{self._scheme}://{host}:{self.server_port}{target}"

    def handle_error(self, request: object, client_address: object) -> None:
        """Do not print: tests include clients that reject the certificate or close the connection."""


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_GET(self) -> None:
        self._respond()

    def do_POST(self) -> None:
        self._respond()

    def _respond(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.server.requests.append(ReceivedRequest(self.command, self.path, self.headers, body))
        responders = self.server.responders
        (responders.pop(0) if len(responders) > 1 else responders[0])(self)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def running_receiver(*responders: Responder, tls: ssl.SSLContext | None = None, port: int = 0) -> Iterator[Receiver]:
    """Run a receiver in a thread and yield it."""
    with Receiver(*responders, tls=tls, port=port) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
