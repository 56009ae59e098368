"""A server of one file, as good or as bad as a test needs it."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.unit.worker.fakes import TIMEOUT


class FileServer(ThreadingHTTPServer):
    """Serves `content` at any path, with `ranges` or without; breaks the next `cuts` answers off half way."""

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content
        self.cuts = 0
        self.status = 200
        self.ranges = True
        #: The byte from which each request wanted the file: not 0 if it had a Range header.
        self.asked: list[int] = []
        self.open = threading.Event()
        self.open.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/student.pt"

    def stop(self) -> None:
        """Answer nothing more, not even that."""
        self.open.set()
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        wanted = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        if not self.server.ranges:
            wanted = None
        first = int(wanted[1]) if wanted else 0
        self.server.asked.append(first)
        assert self.server.open.wait(TIMEOUT)
        content = self.server.content
        self.send_response(206 if wanted else self.server.status)
        if wanted:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        end = len(content)
        if self.server.cuts:
            self.server.cuts -= 1
            end = (first + end) // 2
        with contextlib.suppress(ConnectionError):  # gdown hangs up to ask again for the rest only
            self.wfile.write(content[first:end])

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def serving(content: bytes) -> Iterator[FileServer]:
    """A running server of `content`."""
    server = FileServer(content)
    thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.01), daemon=True)
    thread.start()
    yield server
    server.stop()
    thread.join(TIMEOUT)
