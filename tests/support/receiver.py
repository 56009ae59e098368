"""A server elsewhere: it answers as a test tells it, and remembers what it was asked."""

from __future__ import annotations

import contextlib
import ssl
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

#: Answers one request.
Answering = Callable[[BaseHTTPRequestHandler], None]


@dataclass(frozen=True)
class Asked:
    """One request as it came."""

    method: str
    target: str
    headers: Message
    body: bytes


def with_status(status: int, body: bytes = b"", **headers: str) -> Answering:
    """An answer; a header's `_` stands for `-`."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(status)
        for name, value in {"Content_Length": str(len(body)), **headers}.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.end_headers()
        with contextlib.suppress(ConnectionError):  # whoever has had enough hangs up
            handler.wfile.write(body)

    return answer


class Receiver(ThreadingHTTPServer):
    """Gives the next of `answers`, the last again and again."""

    daemon_threads = True

    def __init__(self, *answers: Answering, tls: ssl.SSLContext | None = None, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.answers = list(answers) or [with_status(200)]
        self.asked: list[Asked] = []
        self._scheme = "https" if tls else "http"
        if tls:
            self.socket = tls.wrap_socket(self.socket, server_side=True, do_handshake_on_connect=False)

    def url(self, target: str = "/", host: str = "127.0.0.1") -> str:
        return f"{self._scheme}://{host}:{self.server_port}{target}"

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that refuses the certificate, or hangs up, is nothing to print."""


class _Handler(BaseHTTPRequestHandler):
    server: Receiver

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def _answer(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        self.server.asked.append(Asked(self.command, self.path, self.headers, body))
        answers = self.server.answers
        (answers.pop(0) if len(answers) > 1 else answers[0])(self)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def receiving(*answers: Answering, tls: ssl.SSLContext | None = None, port: int = 0) -> Iterator[Receiver]:
    """A receiver that runs."""
    with Receiver(*answers, tls=tls, port=port) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()
