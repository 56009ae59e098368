"""Half as much again as the service can caption, for minutes, from many clients at once.

Capacity is measured first. Then every client sends pictures at a fixed pace and heeds no Retry-After, while a prober
asks for a job five times a second. Told are the answers, the prober's latency, the memory of each process with its
slope over the second half, and what became of every picture that was accepted.
"""

from __future__ import annotations

import io
import itertools
import statistics
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from PIL import Image

from benchmarks import report
from benchmarks.contenders import Contender, captiond
from benchmarks.speaker import HttpClient
from common.jobs import Status

#: Offered load as a multiple of the capacity.
OVERLOAD = 1.5
#: Jobs that may be open: little enough to be reached within the run.
MAX_OPEN = 1000
#: Pictures whose captions tell the capacity.
CAPACITY_PICTURES, CAPACITY_QUICK = 600, 200
#: Seconds between two questions of the prober, and between two looks at the memory.
PROBE_EVERY, LOOK_EVERY = 0.2, 1.0
TERMINAL = tuple(status.value for status in Status if status.terminal)


@dataclass
class Load:
    """What was seen while the load lasted."""

    accepted: list[str] = field(default_factory=list)
    answers: Counter[str] = field(default_factory=Counter)
    without_retry_after: int = 0
    probes: list[float] = field(default_factory=list)
    memory: dict[str, list[tuple[float, float]]] = field(default_factory=dict)

    def status(self, percent: int) -> float:
        """Milliseconds within which so many percent of the prober's questions were answered."""
        return 1000 * statistics.quantiles(self.probes, n=100)[percent - 1]


def main(arguments: list[str] | None = None) -> None:
    parser = report.parser("benchmarks.load", __doc__)
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the load lasts (10)")
    parser.add_argument("--clients", type=int, default=200, help="clients at once (200)")
    chosen = parser.parse_args(arguments)
    minutes = min(chosen.minutes, 1.0) if chosen.quick else chosen.minutes
    with tempfile.TemporaryDirectory() as folder:
        service = captiond("load", Path(folder), {"CAPTIOND_MODEL": "demo", "CAPTIOND_MAX_OPEN_JOBS": MAX_OPEN})
        try:
            service.wait_ready()
            pictures = different()
            capacity = measure(service, pictures, CAPACITY_QUICK if chosen.quick else CAPACITY_PICTURES)
            print(f"Capacity: {capacity:.1f} pictures a second; offering {OVERLOAD * capacity:.1f}.", flush=True)
            load = run(service, pictures, OVERLOAD * capacity, chosen.clients, 60 * minutes)
            fate = settle(service, load.accepted)
        finally:
            service.stop()
    tell(load, fate, capacity, minutes, chosen.json)
    report.plot(
        chosen.plot, f"A job's status at {OVERLOAD} x capacity, ms", {"median": load.status(50), "p99": load.status(99)}
    )


def different() -> Iterator[bytes]:
    """One photograph-sized JPEG, each time with another comment: to the service another picture, to us no work."""
    levels = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(levels).resize((640, 480), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=85)
    start, rest = buffer.getvalue()[:2], buffer.getvalue()[2:]
    for number in itertools.count():
        comment = f"{number:012d}".encode()
        yield start + b"\xff\xfe" + (2 + len(comment)).to_bytes(2, "big") + comment + rest


def measure(service: Contender, pictures: Iterator[bytes], count: int) -> float:
    """Pictures a second while there is always one waiting."""
    speaker = HttpClient(service.url)
    sent = [speaker.ask("POST", "/v1/jobs", next(pictures))[2]["id"] for _ in range(count)]
    settle(service, sent)
    ended = sorted(job["completed_at"] for job in listed(service) if job["id"] in set(sent))
    first, last = (np.datetime64(moment.rstrip("Z")) for moment in (ended[count // 4], ended[-1]))
    return float((count - count // 4 - 1) / ((last - first) / np.timedelta64(1, "s")))


def run(service: Contender, pictures: Iterator[bytes], rate: float, clients: int, seconds: float) -> Load:
    """Offer `rate` pictures a second for so many seconds."""
    load, over, lock = Load(), threading.Event(), threading.Lock()
    began = time.monotonic()

    def send(place: int) -> None:
        speaker, due = HttpClient(service.url), began + place / rate
        while not over.wait(max(0.0, due - time.monotonic())):
            with lock:
                picture = next(pictures)
            status, headers, job = speaker.ask("POST", "/v1/jobs", picture)
            with lock:
                load.answers[str(status) if status < 400 else f"{status} {job['type'].rpartition('/')[2]}"] += 1
                if status in (201, 202):
                    load.accepted.append(job["id"])
                load.without_retry_after += status == 503 and "Retry-After" not in headers
            due = max(due + clients / rate, time.monotonic())

    def probe() -> None:
        speaker, due = HttpClient(service.url), time.monotonic() + 1.0
        while not over.wait(max(0.0, due - time.monotonic())):
            due += PROBE_EVERY
            if load.accepted:
                asked = time.perf_counter()
                status, _, _ = speaker.ask("GET", f"/v1/jobs/{load.accepted[-1]}")
                load.probes.append(time.perf_counter() - asked if status == 200 else float("inf"))

    def look() -> None:
        parts = parts_of(service)
        while not over.wait(LOOK_EVERY):
            for name, process in parts.items():
                megabytes = process.memory_info().rss / 2**20
                load.memory.setdefault(name, []).append((time.monotonic() - began, megabytes))

    threads = [threading.Thread(target=send, args=(place,)) for place in range(clients)]
    threads += [threading.Thread(target=probe), threading.Thread(target=look)]
    for thread in threads:
        thread.start()
    time.sleep(seconds)
    over.set()
    for thread in threads:
        thread.join()
    return load


def parts_of(service: Contender) -> dict[str, psutil.Process]:
    """The processes of the web server, the worker and Redis."""
    marks = {"web": "web", "celery": "worker"}
    children = psutil.Process(service.processes[0].pid).children()
    named = ((next((word for word in child.cmdline() if word in marks), ""), child) for child in children)
    return {marks.get(mark, "redis"): child for mark, child in named}


def settle(service: Contender, accepted: list[str]) -> Counter[str]:
    """Wait until nothing is open, and say in which state each accepted job is; one the service lost is `lost`."""
    speaker = HttpClient(service.url)
    for status in ("queued", "processing"):
        while speaker.ask("GET", f"/v1/jobs?limit=1&status={status}")[2]["jobs"]:
            time.sleep(0.5)
    states = {job["id"]: job["status"] for job in listed(service)}
    fate = (states.get(job_id) for job_id in accepted)
    return Counter(status if status in TERMINAL else "lost" for status in fate)


def listed(service: Contender) -> Iterator[dict[str, Any]]:
    """Every job."""
    speaker, cursor = HttpClient(service.url), ""
    while cursor is not None:
        page = speaker.ask("GET", f"/v1/jobs?limit=200{cursor and f'&cursor={cursor}'}")[2]
        yield from page["jobs"]
        cursor = page["next"]


def slope(samples: list[tuple[float, float]]) -> float:
    """Megabytes an hour over the second half, by least squares."""
    seconds, megabytes = np.array(samples[len(samples) // 2 :]).T
    return float(np.polyfit(seconds, megabytes, 1)[0] * 3600)


def tell(load: Load, fate: Counter[str], capacity: float, minutes: float, path: Path | None) -> None:
    p50, p99 = load.status(50), load.status(99)
    slopes = {name: slope(samples) for name, samples in load.memory.items()}
    most = {name: max(megabytes for _, megabytes in samples) for name, samples in load.memory.items()}
    ratios = {"overload": sum(load.answers.values()) / (60 * minutes) / capacity, "lost": float(fate["lost"])}
    print(report.table(["answer", "times"], [[answer, times] for answer, times in load.answers.most_common()]))
    print(f"503 without Retry-After: {load.without_retry_after}")
    fates = (*TERMINAL, "lost")
    print(report.table(["accepted", *fates], [[len(load.accepted), *(fate[name] for name in fates)]]))
    print(f"A job's status, asked {len(load.probes)} times: median {p50:.1f} ms, p99 {p99:.1f} ms")
    print(report.table(["process", "MB at most", "MB an hour"], [[name, most[name], slopes[name]] for name in most]))
    report.write(
        path,
        ratios,
        minutes=minutes,
        capacity=capacity,
        answers=dict(load.answers),
        fate=dict(fate),
        without_retry_after=load.without_retry_after,
        status_ms={"median": p50, "p99": p99, "asked": len(load.probes)},
        megabytes=most,
        megabytes_an_hour=slopes,
    )


if __name__ == "__main__":
    main()
