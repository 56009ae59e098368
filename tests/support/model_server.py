"""A server that stands in for one with a vision language model: it names a picture's mean colour, and fails on demand.

`python -m tests.support.model_server PORT` runs one in a process of its own, in which every fifth request fails.
`GET /counts` says how many requests there were, by their result.
"""

from __future__ import annotations

import base64
import contextlib
import io
import json
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from enum import StrEnum
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from PIL import Image, ImageStat

MODEL = "vlm"
#: Of the process: seconds that an answer takes, and requests of which one fails.
SECONDS, FAILING_SHARE = 0.02, 5


class Fault(StrEnum):
    """What a request gets instead of an answer."""

    ERROR = "error"
    BUSY = "busy"
    EMPTY = "empty"
    HALF = "half"
    MALFORMED = "malformed"
    DROPPED = "dropped"


def describe(image: bytes) -> str:
    """The caption of a JPEG."""
    red, green, blue = ImageStat.Stat(Image.open(io.BytesIO(image)).convert("RGB")).mean
    return f"A field of colour {red:.0f} {green:.0f} {blue:.0f}."


def openai_answer(text: str | None, **choice: Any) -> dict[str, Any]:
    """The JSON of an answer of OpenAI's chat completions."""
    message = {"role": "assistant", "content": text, "refusal": None}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": MODEL,
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"} | choice],
    }


def ollama_answer(text: str, **members: Any) -> dict[str, Any]:
    """The JSON of an answer of Ollama's chat."""
    message = {"role": "assistant", "content": text}
    return {"model": MODEL, "message": message, "done": True, "done_reason": "stop"} | members


class StandIn(ThreadingHTTPServer):
    """Answers both protocols. `fault` gives the fault of a request by its number, from 1.

    `key` is the API key that requests must have. `requests` are their JSON bodies, without those about captiond's own
    picture, whose instruction differs.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(
        self,
        port: int = 0,
        *,
        fault: Callable[[int], Fault | None] = lambda number: None,
        key: str | None = None,
        seconds: float = 0.0,
    ) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.fault = fault
        self.key = key
        self.seconds = seconds
        self.counts: Counter[str] = Counter()
        self.requests: list[dict[str, Any]] = []
        self._lock = threading.Lock()

    def model(self, protocol: str = "openai") -> str:
        """The value of CAPTIOND_MODEL for this server."""
        path = "/v1" if protocol == "openai" else ""
        return f"{protocol}:http://127.0.0.1:{self.server_port}{path}#{MODEL}"

    def next_fault(self) -> Fault | None:
        """The fault of the next request."""
        with self._lock:
            fault = self.fault(self.counts.total() + 1)
            self.counts[fault or "answered"] += 1
        return fault

    def handle_error(self, request: object, client_address: object) -> None:
        """Do not print: clients are killed while they wait for an answer."""


class _Handler(BaseHTTPRequestHandler):
    server: StandIn

    def do_GET(self) -> None:
        self._send(200, json.dumps(self.server.counts).encode())

    def do_POST(self) -> None:
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.server.requests.append(request)
        if self.server.key and self.headers["Authorization"] != f"Bearer {self.server.key}":
            self._send(401, b'{"error": "no key"}')
            return
        fault = self.server.next_fault()
        time.sleep(self.server.seconds)
        if fault is Fault.ERROR:
            self._send(500, b'{"error": "out of memory"}')
        elif fault is Fault.BUSY:
            self._send(429, b"{}", {"Retry-After": "1"})
        elif fault is Fault.MALFORMED:
            self._send(200, b"<html>")
        elif fault is not Fault.DROPPED:
            body = json.dumps(self._answer(request, empty=fault is Fault.EMPTY)).encode()
            self._send(200, body[: len(body) // 2] if fault is Fault.HALF else body, length=len(body))

    def _answer(self, request: dict[str, Any], *, empty: bool) -> dict[str, Any]:
        (message,) = request["messages"]
        if self.path == "/api/chat":
            text = describe(base64.b64decode(message["images"][0]))
            return ollama_answer("" if empty else text)
        assert self.path == "/v1/chat/completions", self.path
        url = message["content"][1]["image_url"]["url"]
        text = describe(base64.b64decode(url.removeprefix("data:image/jpeg;base64,")))
        return openai_answer("" if empty else f'The image shows "{text}"')

    def _send(
        self, status: int, body: bytes, headers: dict[str, str] | None = None, *, length: int | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": str(length or len(body)), **(headers or {})}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def running_stand_in(port: int = 0, **options: Any) -> Iterator[StandIn]:
    """Run a stand-in in a thread and yield it."""
    with StandIn(port, **options) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def every_fifth(number: int) -> Fault | None:
    """Each kind of fault in turn, for every fifth request."""
    return None if number % FAILING_SHARE else list(Fault)[number // FAILING_SHARE % len(Fault)]


if __name__ == "__main__":
    StandIn(int(sys.argv[1]), fault=every_fifth, seconds=SECONDS).serve_forever()
