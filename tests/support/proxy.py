"""A reverse proxy with a path prefix, configured as the operations guide configures nginx."""

from __future__ import annotations

import http.client
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

#: The path prefix.
PREFIX = "/captions"
#: Headers that are not forwarded: those of a single connection (RFC 9110 §7.6.1), and those that this server sets.
NOT_FORWARDED = {"connection", "keep-alive", "transfer-encoding", "content-length", "date", "server"}


@contextmanager
def proxy(port: int) -> Iterator[str]:
    """Run a proxy for the service on `port` of this machine; yield the URL with the prefix."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if not self.path.startswith(f"{PREFIX}/"):
                self.send_error(404, "Another application's path")
                return
            headers = {name: value for name, value in self.headers.items() if name.lower() not in NOT_FORWARDED}
            headers |= {
                "X-Forwarded-For": self.client_address[0],
                "X-Forwarded-Proto": "http",
                "X-Forwarded-Prefix": PREFIX,
            }
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            upstream = http.client.HTTPConnection("127.0.0.1", port, timeout=90)
            upstream.request(self.command, self.path.removeprefix(PREFIX), body, headers)
            response = upstream.getresponse()
            content = response.read()
            self.send_response(response.status)
            for name, value in response.getheaders():
                if name.lower() not in NOT_FORWARDED:
                    self.send_header(name, value)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)
            upstream.close()

        do_POST = do_DELETE = do_GET

        def log_message(self, *_: object) -> None:
            """Do not print."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}{PREFIX}/"
        server.shutdown()
