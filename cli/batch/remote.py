"""Captions from a running service through its batch API. The next batch is sent while one is captioned."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import requests

from cli.batch import BatchError
from cli.batch.sources import Source
from cli.output import warn
from common import problems, strict_json
from common.jobs import Output
from common.problems import Kind, Problem
from common.settings import terminal_language
from common.translation import Message, _

#: Images and bytes of one request.
MAX_IMAGES, MAX_BYTES = 64, 64 * 2**20
#: Timeout of a request and interval between status requests, in seconds.
REQUEST_TIMEOUT, POLL_INTERVAL = 120.0, 0.5
#: Seconds of an outage after which the run ends, and between two attempts.
OUTAGE_TIMEOUT, RETRY_INTERVAL = 600.0, 2.0
#: The problem of an image whose job was canceled.
CANCELED = Kind("canceled", 500, "Canceled")
#: Response statuses after which the request is repeated.
RETRIED = frozenset({429, 502, 503, 504})


@dataclass
class _Chunk:
    """Images of one request, as pairs of an image and its bytes or the problem of reading it."""

    files: list[tuple[Source, bytes | Problem]] = field(default_factory=list)
    size: int = 0
    batch: str | None = None

    def has_room(self, data: bytes | Problem) -> bool:
        return not self.files or (len(self.files) < MAX_IMAGES and self.size + _size(data) <= MAX_BYTES)

    def add(self, source: Source, data: bytes | Problem) -> None:
        self.files.append((source, data))
        self.size += _size(data)


class Service:
    """The service at `url`, with an API key where it needs one.

    `patience` is the number of seconds of an outage after which a request fails.
    """

    def __init__(
        self,
        url: str,
        key: str | None,
        *,
        patience: float = OUTAGE_TIMEOUT,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._url = url.rstrip("/")
        self._patience = patience
        self.sleep = sleep
        self._reason: str | None = None
        self._session = requests.Session()
        self._session.headers["Accept-Language"] = terminal_language()
        if key:
            self._session.headers["Authorization"] = f"Bearer {key}"

    def request(self, method: str, path: str, **arguments: Any) -> requests.Response:
        """Send a request, and repeat it while the service is unreachable, full or overloaded. Raises `BatchError`."""
        deadline = time.monotonic() + self._patience
        said: Message | str | None = None
        while True:
            pause = RETRY_INTERVAL
            try:
                response = self._session.request(method, self._url + path, timeout=REQUEST_TIMEOUT, **arguments)
            except requests.ConnectionError as error:
                reason: Message | str = _(
                    "No service answers at {url} ({reason}).", url=self._url, reason=type(error).__name__
                )
            except requests.RequestException as error:
                raise BatchError(_("{url} cannot be used: {reason}", url=self._url, reason=str(error))) from error
            else:
                if response.ok:
                    return response
                reason = _detail(response)
                if response.status_code not in RETRIED:
                    raise BatchError(
                        _(
                            "{url} answered {status}: {reason}",
                            url=self._url,
                            status=response.status_code,
                            reason=reason,
                        )
                    )
                asked = response.headers.get("Retry-After", "")
                pause = max(pause, float(asked)) if asked.isdigit() else pause
            if time.monotonic() + pause > deadline:
                raise BatchError(
                    _("{reason} Nothing that was captioned is lost: run the same command again.", reason=reason)
                )
            if reason != said:
                warn(_("{reason} Trying again.", reason=reason))
                said = reason
            self.sleep(pause)

    def read_batch(self, path: str) -> dict[str, Any]:
        """The batch at `path`. Says why its pictures wait, if the service gives a new reason. Raises `BatchError`."""
        batch: dict[str, Any] = self.request("GET", path).json()
        reason, self._reason = self._reason, batch.get("reason")
        if self._reason and self._reason != reason:
            warn(self._reason)
        return batch


class RemoteCaptioner(Service):
    """Captions images by a service, with its model of this name if one is given. Raises `BatchError`."""

    def __init__(self, url: str, key: str | None, *, model: str | None = None, **arguments: Any) -> None:
        super().__init__(url, key, **arguments)
        self._options = [("options", strict_json.dumps({"model": model}))] if model else []

    def captions(self, sources: Iterable[Source]) -> Iterator[tuple[Source, Output | Problem]]:
        """Each image with its caption, or with its problem, in order."""
        before: _Chunk | None = None
        for chunk in _chunks(sources):
            self._send(chunk)
            if before:
                yield from self._results(before)
            before = chunk
        if before:
            yield from self._results(before)

    def _send(self, chunk: _Chunk) -> None:
        files = [(index, source, data) for index, (source, data) in enumerate(chunk.files) if isinstance(data, bytes)]
        if not files:
            return
        batch = self.request(
            "POST",
            "/v1/batches",
            files=[("images", (source.location, data)) for _, source, data in files],
            data=[*self._options, *(("custom_id", str(index)) for index, _, _ in files)],
        ).json()
        chunk.batch = batch["id"]
        # The next chunk is read while this one is captioned, and only its images need their bytes.
        chunk.files = [(source, b"" if isinstance(data, bytes) else data) for source, data in chunk.files]

    def _results(self, chunk: _Chunk) -> Iterator[tuple[Source, Output | Problem]]:
        results: dict[int, Output | Problem] = {}
        if chunk.batch is not None:
            path = f"/v1/batches/{chunk.batch}"
            while self.read_batch(path)["status"] == "in_progress":
                self.sleep(POLL_INTERVAL)
            lines = self.request("GET", f"{path}/results").iter_lines()
            results = {int(result["custom_id"]): _result(result) for result in map(json.loads, lines)}
        for index, (source, data) in enumerate(chunk.files):
            yield source, data if isinstance(data, Problem) else results[index]


def _chunks(sources: Iterable[Source]) -> Iterator[_Chunk]:
    """Read images, in chunks that one request takes."""
    chunk = _Chunk()
    for source in sources:
        data: bytes | Problem
        try:
            data = source.read()
        except Problem as problem:
            data = problem
        if not chunk.has_room(data):
            yield chunk
            chunk = _Chunk()
        chunk.add(source, data)
    if chunk.files:
        yield chunk


def _size(data: bytes | Problem) -> int:
    return 0 if isinstance(data, Problem) else len(data)


def _result(result: dict[str, Any]) -> Output | Problem:
    if result["status"] == "succeeded":
        names = ("caption", "score", "confidence", "unsure", "translated")  # earlier versions send the first two
        return Output(**{name: result.get(name) for name in names})
    error = result["error"] or {"type": "canceled", "title": "Canceled", "detail": "The job was canceled."}
    kind = problems.KINDS.get(error["type"].rsplit("/", 1)[-1], Kind(error["type"], 500, error["title"]))
    return kind(error["detail"])


def _detail(response: requests.Response) -> Message | str:
    """The `detail` of a problem response."""
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return response.reason or _("no reason given")
