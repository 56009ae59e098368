"""Sends malicious images and forms to the web application in this process, and measures processor time and memory.

`python -m tests.support.resource_probe` prints a JSON object for each, or with `--table` the table of
docs/reliability.md. Memory is the peak growth of the web server and its decoder processes in megabytes; time is the
processor time of all. Both are read from /proc, so it works on Linux only.
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
from tests.support.raw import DNG
from web import create_app

#: Bytes of a megabyte in the table.
MB = 1e6
#: Seconds between two samples of the peak memory.
SAMPLE_INTERVAL = 0.01
#: Side of the model's input, in pixels.
SIDE = 384


@dataclass(frozen=True)
class ProbeResult:
    """The response to one item and its cost; `slug` is that of its problem, `expected` lists the allowed results."""

    name: str
    status: int
    slug: str
    expected: list[str]
    detail: str
    seconds: float
    megabytes: float


class Meter:
    """Measures the web server and its decoders, including those that end during the measurement."""

    def __init__(self) -> None:
        processes = [pool._idle.queue[-1] for pool in (sandbox()._decoders, sandbox()._extractors)]
        self._pids = (os.getpid(), *(process.pid for process in processes if process))
        self._seconds = self._processor_seconds()
        self._before = [_memory(pid, "VmRSS") for pid in self._pids]
        self._peaks = list(self._before)
        for pid in self._pids:
            Path(f"/proc/{pid}/clear_refs").write_text("5")  # reset the peak (proc(5))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample_until_stopped)
        self._thread.start()

    def read(self) -> tuple[float, float]:
        """Stop and return processor seconds and megabytes."""
        self._stop.set()
        self._thread.join()
        self._sample_peaks()
        growth = sum(peak - before for peak, before in zip(self._peaks, self._before, strict=True))
        return self._processor_seconds() - self._seconds, growth / MB

    def _sample_until_stopped(self) -> None:
        """Sample often, because the peak of a process cannot be read after its end."""
        while not self._stop.wait(SAMPLE_INTERVAL):
            self._sample_peaks()

    def _sample_peaks(self) -> None:
        for index, pid in enumerate(self._pids):
            with contextlib.suppress(OSError, KeyError):  # the process has ended
                self._peaks[index] = _memory(pid, "VmHWM")

    def _processor_seconds(self) -> float:
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        return time.process_time() + sum(map(_cpu, self._pids[1:])) + ended.ru_utime + ended.ru_stime


def run(app: Flask) -> Iterator[ProbeResult]:
    """Send every item and form. Accepted images are also resized for display and for the model; the maximum counts."""
    client, max_pixels = app.test_client(), Settings().max_pixels
    for item in items():
        steps = [_measured(_send, client, item.data, "image/jpeg")]
        response = steps[0][0]
        if response.status_code == 202:
            steps.append(_measured(client.get, f"/v1/jobs/{response.json['id']}/image?size=2048"))
            steps.append(_measured(sandbox().preprocess, item.data, max_pixels, SIDE))
        yield _result(item.name, response, list(item.allowed), steps)
    for form in forms():
        step = _measured(_send, client, form.body, form.content_type, form.environ)
        yield _result(f"a form: {form.name}", step[0], [str(status) for status in form.statuses], [step])


def _send(client: FlaskClient, body: bytes, content_type: str, environ: dict[str, str] | None = None) -> TestResponse:
    headers = {"CONTENT_LENGTH": str(len(body)), "CONTENT_TYPE": content_type, **(environ or {})}
    return client.post("/v1/jobs", input_stream=io.BytesIO(body), environ_overrides=headers)


def _measured(step: Callable[..., Any], *arguments: Any) -> tuple[Any, float, float]:
    """The step's result, or the problem that it raises; processor seconds; megabytes."""
    sandbox().check(DNG, Settings().max_pixels)  # starts both kinds of decoders
    meter = Meter()
    try:
        result = step(*arguments)
    except Problem as problem:
        result = problem
    return (result, *meter.read())


def _result(
    name: str, response: TestResponse, expected: list[str], steps: list[tuple[Any, float, float]]
) -> ProbeResult:
    body = response.json or {}
    return ProbeResult(
        name=name,
        status=response.status_code,
        slug=body.get("type", "").removeprefix("/problems/"),
        expected=expected,
        detail=body.get("detail", ""),
        seconds=round(max(seconds for _, seconds, _ in steps), 2),
        megabytes=round(max(megabytes for *_, megabytes in steps), 1),
    )


def _memory(pid: int, name: str) -> int:
    """A memory field of /proc/PID/status, in bytes."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    return int(lines[name].split()[0]) * 1024


def _cpu(pid: int) -> float:
    """Processor time of a process in seconds; 0 when it has ended."""
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
            for result in run(app):
                print(json.dumps(asdict(result)), flush=True)
            return
        print("| what is sent | answer | CPU s | MB |\n| --- | --- | ---: | ---: |")
        for result in run(app):
            answer = f"{result.status} {result.slug}".strip()
            print(f"| {result.name} | {answer} | {result.seconds:.2f} | {result.megabytes:.0f} |", flush=True)


if __name__ == "__main__":
    main()
