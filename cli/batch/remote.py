"""Captions from a running service through its batch API. The next batch is sent while one is captioned."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import requests

from cli.batch import BatchError
from cli.batch.sources import Source
from common import problems
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


@dataclass(frozen=True)
class _Sent:
    """A submitted batch, and the images of its chunk that could not be read."""

    batch: str | None
    sources: list[Source]
    refused: dict[int, Problem]


class RemoteCaptioner:
    """Captions images by the service at `url`, with an API key where it needs one. Raises `BatchError`."""

    def __init__(self, url: str, key: str | None, *, sleep: Callable[[float], None] = time.sleep) -> None:
        self._url = url.rstrip("/")
        self._sleep = sleep
        self._session = requests.Session()
        self._session.headers["Accept-Language"] = terminal_language()
        if key:
            self._session.headers["Authorization"] = f"Bearer {key}"

    def captions(self, sources: Iterable[Source]) -> Iterator[tuple[Source, Output | Problem]]:
        """Each image with its caption, or with its problem, in order."""
        remaining = iter(sources)
        before: _Sent | None = None
        while chunk := list(islice(remaining, MAX_IMAGES)):
            for sent in self._send_all(chunk):
                if before:
                    yield from self._results(before)
                before = sent
        if before:
            yield from self._results(before)

    def _send_all(self, chunk: list[Source]) -> Iterator[_Sent]:
        """Send a chunk in as many requests as its bytes need."""
        sources: list[Source] = []
        files: list[tuple[int, bytes]] = []
        refused: dict[int, Problem] = {}
        for source in chunk:
            try:
                data = source.read()
            except Problem as problem:
                refused[len(sources)] = problem
                sources.append(source)
                continue
            if files and sum(len(each) for _, each in files) + len(data) > MAX_BYTES:
                yield self._send(sources, files, refused)
                sources, files, refused = [], [], {}
            files.append((len(sources), data))
            sources.append(source)
        yield self._send(sources, files, refused)

    def _send(self, sources: list[Source], files: list[tuple[int, bytes]], refused: dict[int, Problem]) -> _Sent:
        if not files:
            return _Sent(None, sources, refused)
        batch = self._request(
            "POST",
            "/v1/batches",
            files=[("images", (sources[index].location, data)) for index, data in files],
            data=[("custom_id", str(index)) for index, _ in files],
        ).json()
        return _Sent(batch["id"], sources, refused)

    def _results(self, sent: _Sent) -> Iterator[tuple[Source, Output | Problem]]:
        results: dict[int, Output | Problem] = dict(sent.refused)
        if sent.batch is not None:
            path = f"/v1/batches/{sent.batch}"
            while self._request("GET", path).json()["status"] == "in_progress":
                self._sleep(POLL_INTERVAL)
            lines = self._request("GET", f"{path}/results").iter_lines()
            results |= {int(result["custom_id"]): _result(result) for result in map(json.loads, lines)}
        for index, source in enumerate(sent.sources):
            yield source, results[index]

    def _request(self, method: str, path: str, **arguments: Any) -> requests.Response:
        """Send a request, and repeat it while the service is unreachable, full or overloaded."""
        deadline = time.monotonic() + OUTAGE_TIMEOUT
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
            self._sleep(pause)


def _result(result: dict[str, Any]) -> Output | Problem:
    if result["status"] == "succeeded":
        return Output(caption=result["caption"], score=result["score"])
    error = result["error"]
    if error is None:
        return CANCELED(_("The job was canceled."))
    kind = problems.KINDS.get(error["type"].rsplit("/", 1)[-1]) or Kind(error["type"], 500, error["title"])
    return kind(error["detail"])


def _detail(response: requests.Response) -> Message | str:
    """The `detail` of a problem response."""
    try:
        return str(response.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return response.reason or _("no reason given")
