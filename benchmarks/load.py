"""An overload test: many clients offer 1.5 times the service's capacity for minutes.

Capacity is measured first. Then every client sends images at a fixed rate and ignores Retry-After, while a probe
requests a job's status five times a second. Reported are the responses, the probe's latency, the memory of each process
with its growth over the second half, and the final state of every accepted job.
"""

from __future__ import annotations

import io
import itertools
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from benchmarks import report
from benchmarks.contenders import Contender, captiond
from benchmarks.http_client import HttpClient
from common.jobs import Status

#: Offered load as a multiple of the capacity.
OVERLOAD = 1.5
#: Limit of open jobs, small enough to be reached within the run.
MAX_OPEN = 1000
#: Images with which the capacity is measured.
CAPACITY_IMAGES, CAPACITY_IMAGES_QUICK = 600, 200
#: Seconds between two status requests of the probe, and between two samples of the memory.
PROBE_INTERVAL, MEMORY_INTERVAL = 0.2, 1.0
TERMINAL = tuple(status.value for status in Status if status.terminal)


@dataclass
class Measurements:
    """Measurements during the load.

    `answers` counts responses by status and problem. `probes` are latencies in seconds, infinite for a failed request.
    `memory` has, for each process, samples of (seconds since the start, megabytes).
    """

    accepted: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    without_retry_after: int = 0
    probes: list[float] = field(default_factory=list)
    memory: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def status_ms(self, percent: int) -> float:
        """A percentile of the probe's latency, in milliseconds."""
        return 1000 * statistics.quantiles(self.probes, n=100)[percent - 1]


def main(arguments: list[str] | None = None) -> None:
    parser = report.parser("benchmarks.load", __doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the load lasts (10)")
    parser.add_argument("--clients", type=int, default=200, help="concurrent clients (200)")
    options = parser.parse_args(arguments)
    minutes = min(options.minutes, 1.0) if options.quick else options.minutes
    with tempfile.TemporaryDirectory() as folder:
        service = captiond("load", Path(folder), {"CAPTIOND_MODEL": "demo", "CAPTIOND_MAX_OPEN_JOBS": MAX_OPEN})
        try:
            service.wait_ready()
            images = different_images()
            capacity = measure_capacity(service, images, CAPACITY_IMAGES_QUICK if options.quick else CAPACITY_IMAGES)
            print(f"Capacity: {capacity:.1f} images per second; offering {OVERLOAD * capacity:.1f}.", flush=True)
            measured = run(service, images, OVERLOAD * capacity, options.clients, 60 * minutes)
            outcomes = wait_until_settled(service, measured.accepted)
        finally:
            service.stop()
    print_and_write(measured, outcomes, capacity, minutes, options.json)
    bars = {"median": measured.status_ms(50), "p99": measured.status_ms(99)}
    report.plot(options.plot, f"Latency of a status request at {OVERLOAD} x capacity, ms", bars)


def different_images(size: tuple[int, int] = (640, 480)) -> Iterator[bytes]:
    """A JPEG of `size` pixels with a different comment each time: a new image to the service, and cheap to make."""
    levels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels).resize(size, Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=85)
    marker, rest = buffer.getvalue()[:2], buffer.getvalue()[2:]
    for number in itertools.count():
        comment = f"{number:012d}".encode()
        yield marker + b"\xff\xfe" + (2 + len(comment)).to_bytes(2, "big") + comment + rest


def measure_capacity(service: Contender, images: Iterator[bytes], count: int) -> float:
    """Images per second while the queue is never empty; the first quarter is ignored as warm-up."""
    client = HttpClient(service.url)
    sent = {client.request("POST", "/v1/jobs", next(images))[2]["id"] for _ in range(count)}
    wait_until_settled(service, sent)
    ended = sorted(job["completed_at"] for job in all_jobs(service) if job["id"] in sent)
    first, last = (np.datetime64(timestamp.rstrip("Z")) for timestamp in (ended[count // 4], ended[-1]))
    return float((count - count // 4 - 1) / ((last - first) / np.timedelta64(1, "s")))


def run(service: Contender, images: Iterator[bytes], rate: float, clients: int, seconds: float) -> Measurements:
    """Offer `rate` images per second for `seconds` seconds."""
    measured, stopping, lock = Measurements(), threading.Event(), threading.Lock()
    started = time.monotonic()

    def send(index: int) -> None:
        client, due = HttpClient(service.url), started + index / rate
        while not stopping.wait(max(0.0, due - time.monotonic())):
            with lock:
                image = next(images)
            status, headers, job = client.request("POST", "/v1/jobs", image)
            with lock:
                measured.answers[str(status) if status < 400 else f"{status} {job['type'].rpartition('/')[2]}"] += 1
                if status in (201, 202):
                    measured.accepted.append(job["id"])
                measured.without_retry_after += status == 503 and "Retry-After" not in headers
            due = max(due + clients / rate, time.monotonic())

    def probe() -> None:
        client, due = HttpClient(service.url), time.monotonic() + 1.0
        while not stopping.wait(max(0.0, due - time.monotonic())):
            due += PROBE_INTERVAL
            if measured.accepted:
                sent_at = time.perf_counter()
                status, _, _ = client.request("GET", f"/v1/jobs/{measured.accepted[-1]}")
                measured.probes.append(time.perf_counter() - sent_at if status == 200 else float("inf"))

    def sample_memory() -> None:
        processes = processes_of(service)
        while not stopping.wait(MEMORY_INTERVAL):
            for name, process in processes.items():
                megabytes = process.memory_info().rss / 2**20
                measured.memory.setdefault(name, []).append((time.monotonic() - started, megabytes))

    threads = [threading.Thread(target=send, args=(index,)) for index in range(clients)]
    threads += [threading.Thread(target=probe), threading.Thread(target=sample_memory)]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    stopping.set()
    for thread in threads:
        thread.join()
    return measured


def processes_of(service: Contender) -> dict[str, psutil.Process]:
    """The processes of the web server, the worker and Redis."""
    marks = {"web": "web", "celery": "worker"}
    children = psutil.Process(service.processes[0].pid).children()
    named = ((next((word for word in child.cmdline() if word in marks), ""), child) for child in children)
    return {marks.get(mark, "redis"): child for mark, child in named}


def wait_until_settled(service: Contender, accepted: Collection[str]) -> Counter[str]:
    """Wait until no job is open and count the accepted jobs by state; `lost` counts those that the service lost."""
    client = HttpClient(service.url)
    for status in ("queued", "processing"):
        while client.request("GET", f"/v1/jobs?limit=1&status={status}")[2]["jobs"]:
            time.sleep(0.5)
    states = {job["id"]: job["status"] for job in all_jobs(service)}
    final = (states.get(job_id) for job_id in accepted)
    return Counter(status if status in TERMINAL else "lost" for status in final)


def all_jobs(service: Contender) -> Iterator[dict[str, Any]]:
    """Every job, page by page."""
    client, cursor = HttpClient(service.url), ""
    while cursor is not None:
        page = client.request("GET", f"/v1/jobs?limit=200{cursor and f'&cursor={cursor}'}")[2]
        yield from page["jobs"]
        cursor = page["next"]


def slope(samples: list[tuple[float, float]]) -> float:
    """Growth over the second half of the samples, in megabytes per hour, by least squares."""
    seconds, megabytes = np.array(samples[len(samples) // 2 :]).T
    return float(np.polyfit(seconds, megabytes, 1)[0] * 3600)


def print_and_write(
    measured: Measurements, outcomes: Counter[str], capacity: float, minutes: float, path: Path | None
) -> None:
    """Print the tables, and write the figures as JSON if `path` is given."""
    p50, p99 = measured.status_ms(50), measured.status_ms(99)
    slopes = {name: slope(samples) for name, samples in measured.memory.items()}
    peaks = {name: max(megabytes for _, megabytes in samples) for name, samples in measured.memory.items()}
    ratios = {"overload": sum(measured.answers.values()) / (60 * minutes) / capacity, "lost": float(outcomes["lost"])}
    print(report.table(["answer", "times"], [[answer, times] for answer, times in measured.answers.most_common()]))
    print(f"503 without Retry-After: {measured.without_retry_after}")
    states = (*TERMINAL, "lost")
    print(report.table(["accepted", *states], [[len(measured.accepted), *(outcomes[state] for state in states)]]))
    print(f"{len(measured.probes)} status requests: median {p50:.1f} ms, p99 {p99:.1f} ms")
    print(report.table(["process", "peak MB", "MB per hour"], [[name, peaks[name], slopes[name]] for name in peaks]))
    report.write(
        path,
        ratios,
        minutes=minutes,
        capacity=capacity,
        answers=dict(measured.answers),
        fate=dict(outcomes),
        without_retry_after=measured.without_retry_after,
        status_ms={"median": p50, "p99": p99, "asked": len(measured.probes)},
        megabytes=peaks,
        megabytes_an_hour=slopes,
    )


if __name__ == "__main__":
    main()
