"""Sends hostile pictures and forms to the web tier in a process of its own, and measures what each one costs.

`python -m tests.support.resource_probe` prints a JSON object for each, or with `--table` the table of
docs/reliability.md. Memory is what the web server and its decoder took at their peak beyond what they had before, in
megabytes; time is the processor time of both. Linux only: both are read from /proc.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import resource
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import fakeredis
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from common.images.sandbox import sandbox
from common.problems import Problem
from common.settings import Settings
from tests.support.forms import forms
from tests.support.hostile import items
from tests.support.images import encoded
from web import create_app

#: Bytes that are one of the table's megabytes.
MB = 1e6
#: Seconds between two looks at the peaks.
LOOK = 0.01
#: The model's picture, in pixels.
SIDE = 384


@dataclass(frozen=True)
class Ordeal:
    """What became of one item; `slug` is its problem's, `expected` what was allowed."""

    name: str
    status: int
    slug: str
    expected: list[str]
    detail: str
    seconds: float
    megabytes: float


class Meter:
    """What the web server and its decoder cost between two looks; a decoder that is ended meanwhile counts, too."""

    def __init__(self) -> None:
        decoder = sandbox()._idle.queue[-1]
        assert decoder is not None
        self._pids = (os.getpid(), decoder.pid)
        self._seconds = self._used()
        self._before = [_memory(pid, "VmRSS") for pid in self._pids]
        self._peaks = list(self._before)
        for pid in self._pids:
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # begin the peak anew (proc(5))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()

    def read(self) -> tuple[float, float]:
        """Seconds and megabytes."""
        self._stop.set()
        self._thread.join()
        self._look()
        grown = sum(peak - before for peak, before in zip(self._peaks, self._before, strict=True))
        return self._used() - self._seconds, grown / MB

    def _watch(self) -> None:
        """Look at the peaks so often that one of a process which is ended is known."""
        while not self._stop.wait(LOOK):
            self._look()

    def _look(self) -> None:
        for number, pid in enumerate(self._pids):
            with contextlib.suppress(OSError, KeyError):  # it has ended
                self._peaks[number] = _memory(pid, "VmHWM")

    def _used(self) -> float:
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + _cpu(self._pids[1]) + ended.ru_utime + ended.ru_stime


def run(app: Flask) -> Iterator[Ordeal]:
    """Every item and form. What is accepted is shown and made ready for the model, too: the dearest step counts."""
    client, most = app.test_client(), Settings().max_pixels
    for item in items():
        steps = [_measured(_send, client, item.data, "image/jpeg")]
        answer = steps[0][0]
        if answer.status_code == 202:
            steps.append(_measured(client.get, f"/v1/jobs/{answer.json['id']}/image?size=2048"))
            steps.append(_measured(sandbox().preprocess, item.data, most, SIDE))
        yield _ordeal(item.name, answer, list(item.allowed), steps)
    for form in forms():
        step = _measured(_send, client, form.body, form.content_type, form.environ)
        yield _ordeal(f"a form: {form.name}", step[0], [str(status) for status in form.statuses], [step])


def _send(client: FlaskClient, body: bytes, content_type: str, environ: dict[str, str] | None = None) -> TestResponse:
    headers = {"CONTENT_LENGTH": str(len(body)), "CONTENT_TYPE": content_type, **(environ or {})}
    return client.post("/v1/jobs", input_stream=io.BytesIO(body), environ_overrides=headers)


def _measured(step: Callable[..., Any], *arguments: Any) -> tuple[Any, float, float]:
    """What the step returns, or the problem that it raises; its seconds and megabytes."""
    sandbox().check(encoded(), Settings().max_pixels)  # a decoder is there
    meter = Meter()
    try:
        found = step(*arguments)
    except Problem as problem:
        found = problem
    return (found, *meter.read())


def _ordeal(name: str, answer: TestResponse, expected: list[str], steps: list[tuple[Any, float, float]]) -> Ordeal:
    body = answer.json or {}
    return Ordeal(
        name=name,
        status=answer.status_code,
        slug=body.get("type", "").removeprefix("/problems/"),
        expected=expected,
        detail=body.get("detail", ""),
        seconds=round(max(seconds for _, seconds, _ in steps), 2),
        megabytes=round(max(megabytes for *_, megabytes in steps), 1),
    )


def _memory(pid: int, name: str) -> int:
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(lines[name].split()[0]) * 1024


def _cpu(pid: int) -> float:
    """Processor time of a process, 0 when it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(data=Path(folder), broker_url="memory://")
        app = create_app(settings, redis=fakeredis.FakeStrictRedis(decode_responses=True))
        if "--table" not in sys.argv:
            for ordeal in run(app):
                print(json.dumps(asdict(ordeal)), flush=True)
            return
        print("| what is sent | answer | CPU s | MB |\n| --- | --- | ---: | ---: |")
        for ordeal in run(app):
            answer = f"{ordeal.status} {ordeal.slug}".strip()
            print(f"| {ordeal.name} | {answer} | {ordeal.seconds:.2f} | {ordeal.megabytes:.0f} |", flush=True)


if __name__ == "__main__":
    main()
