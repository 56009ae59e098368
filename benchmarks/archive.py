"""A batch of one ZIP archive with many small JPEGs: duration and peak memory of each process of `captiond serve`.

Reported are the seconds until the request is answered, until the archive is unpacked and until the last picture is
captioned; the number of captions when the archive is unpacked; and the memory of each process before the request and at
its peak.
"""

from __future__ import annotations

import io
import tempfile
import threading
import time
import zipfile
from itertools import islice
from pathlib import Path
from typing import Any

from benchmarks import report
from benchmarks.contenders import Contender, captiond
from benchmarks.http_client import HttpClient
from benchmarks.load import MEMORY_INTERVAL, different_images, processes_of

#: Pictures of the archive, and their size in pixels: about 20 kB each.
IMAGES, IMAGES_QUICK, SIZE = 10_000, 500, (320, 240)


def main(arguments: list[str] | None = None) -> None:
    options = report.parser("benchmarks.archive", __doc__).parse_args(arguments)
    count = IMAGES_QUICK if options.quick else IMAGES
    archive = archive_of(count)
    with tempfile.TemporaryDirectory() as folder:
        service = captiond("archive", Path(folder), {"CAPTIOND_MODEL": "demo", "CAPTIOND_BEAMS": 1})
        try:
            service.wait_ready()
            with MemorySampler(service) as memory:
                results = run(service, archive)
        finally:
            service.stop()
    print(f"{count} pictures, {len(archive) / 2**20:.0f} MB: {results}")
    rows = [[name, before, memory.peak[name]] for name, before in memory.before.items()]
    print(report.table(["process", "MB before", "peak MB"], rows))
    report.write(options.json, {}, pictures=count, megabytes={"before": memory.before, "peak": memory.peak}, **results)


def archive_of(count: int) -> bytes:
    """An archive of `count` different JPEGs in folders of 100."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for number, image in enumerate(islice(different_images(SIZE), count)):
            archive.writestr(f"{number // 100:03}/{number:05}.jpg", image)
    return buffer.getvalue()


def run(service: Contender, archive: bytes) -> dict[str, Any]:
    """Send the archive, and wait until all its pictures have ended."""
    client, started = HttpClient(service.url), time.monotonic()
    status, _, batch = client.request("POST", "/v1/batches", archive, {"Content-Type": "application/zip"})
    if status != 202:
        raise RuntimeError(f"The archive was refused with status {status}: {batch}")
    answered, unpacked = time.monotonic() - started, None
    while batch["status"] == "in_progress":
        time.sleep(MEMORY_INTERVAL)
        batch = client.request("GET", batch["urls"]["self"])[2]
        if unpacked is None and batch["archive"]["status"] in ("done", "failed"):
            unpacked, captioned = time.monotonic() - started, batch["request_counts"]["succeeded"]
    return {
        "answered_s": round(answered, 2),
        "unpacked_s": round(unpacked or 0.0, 1),
        "captioned_when_unpacked": captioned,
        "completed_s": round(time.monotonic() - started, 1),
        "request_counts": batch["request_counts"],
    }


class MemorySampler:
    """Resident memory of each process in megabytes, before the block and at its peak within it."""

    def __init__(self, service: Contender) -> None:
        self._processes = processes_of(service)
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._sample)
        self.before = self._now()
        self.peak = dict(self.before)

    def __enter__(self) -> MemorySampler:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._done.wait(MEMORY_INTERVAL / 10):
            for name, megabytes in self._now().items():
                self.peak[name] = max(self.peak[name], megabytes)

    def _now(self) -> dict[str, float]:
        return {name: process.memory_info().rss / 2**20 for name, process in self._processes.items()}


if __name__ == "__main__":
    main()
