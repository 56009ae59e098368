"""An HTTP server of one file with configurable failures."""

from __future__ import annotations

import contextlib
import re
import threading
from collections.abc import Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from tests.unit.worker.fakes import TIMEOUT


class FileServer(ThreadingHTTPServer):
    """Serves `content` at every path, with range requests if `ranges`. Cuts the next `cuts` responses in the middle."""

    def __init__(self, content: bytes) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content = content
        self.cuts = 0
        self.status = 200
        self.ranges = True
        #: First byte of each request's range; 0 without a Range header.
        self.range_starts: list[int] = []
        self.open = threading.Event()
        self.open.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/student.pt"

    def stop(self) -> None:
        """Stop listening."""
        self.open.set()
        self.shutdown()
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    server: FileServer

    def do_GET(self) -> None:
        requested = re.fullmatch(r"bytes=(\d+)-", self.headers["Range"] or "")
        if not self.server.ranges:
            requested = None
        first = int(requested[1]) if requested else 0
        self.server.range_starts.append(first)
        assert self.server.open.wait(TIMEOUT)
        content = self.server.content
        self.send_response(206 if requested else self.server.status)
        if requested:
            self.send_header("Content-Range", f"bytes {first}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(content) - first))
        self.end_headers()
        end = len(content)
        if self.server.cuts:
            self.server.cuts -= 1
            end = (first + end) // 2
        with contextlib.suppress(ConnectionError):  # gdown disconnects, and requests the rest
            self.wfile.write(content[first:end])

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextlib.contextmanager
def serving(content: bytes) -> Iterator[FileServer]:
    """Run a server of `content`."""
    server = FileServer(content)
    thread = threading.Thread(target=partial(server.serve_forever, poll_interval=0.01), daemon=True)
    thread.start()
    yield server
    server.stop()
    thread.join(TIMEOUT)
