"""Throughput of several workers on one Redis, cost of a job in Redis, and uploads per core of the web server.

Scaling: 1, 2, 4 and 8 worker processes whose model call takes a fixed time, on one batch of waiting images. Reported is
the throughput while all workers are busy, relative to as many times that of one worker.

Ceiling: the same with a model that takes no time, so that ledger and broker are all there is to do. Reported are jobs
per second, and the processor time that Redis and the workers spend on each. Also reported: the memory of Redis for a
job.

Web server: the real one, with check and storage of the image and record of the job, and a Flask view that only saves
the body, behind the same HTTP server. Both get the same images in turn. Reported are uploads per second, and per second
of processor time of the server with its children, which is what one core can do.
"""

from __future__ import annotations

import contextlib
import queue
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path

import psutil
from redis import Redis

from benchmarks import report
from benchmarks.contenders import Contender, captiond, peer
from benchmarks.http_client import HttpClient
from benchmarks.ledger import MODEL, private_redis, totals, unlimited
from benchmarks.load import different_images, processes_of
from benchmarks.simulation import Client
from common.ledger import Components, Worker, connect
from common.queue import make_celery
from common.settings import Settings

#: Numbers of workers.
WORKERS, WORKERS_QUICK = (1, 2, 4, 8), (1, 2)
#: Model call of the scaling test in seconds: fixed, and for each image. Eight images take 0.4 s, as on two cores.
CALL_SECONDS, IMAGE_SECONDS = 0.08, 0.04
#: Images for each worker; images of the ceiling test, and of the memory test.
IMAGES_PER_WORKER, CEILING_IMAGES, MEMORY_IMAGES = 400, 8_000, 10_000
#: Part of the images before and after the measurement, while workers start or have no full batch.
RAMP = 0.15
#: Clients of the web server, uploads of a round, and rounds.
CLIENTS, UPLOADS, ROUNDS = 16, 600, 5
#: Seconds between two looks at the batch.
POLL_INTERVAL = 0.05
#: Seconds in which the workers must start.
START_TIMEOUT = 120.0


@dataclass(frozen=True)
class Throughput:
    """Jobs per second of `workers` workers; microseconds of CPU time and commands of Redis for a job, and those of all
    workers.
    """

    workers: int
    jobs_per_second: float
    redis_microseconds: float
    redis_commands: float
    worker_microseconds: float


@dataclass(frozen=True)
class Uploads:
    """Uploads of one round: in each second, and in each second of the server's CPU time."""

    per_second: float
    per_core: float


def main(arguments: list[str] | None = None) -> None:
    options = report.parser("benchmarks.scale", __doc__).parse_args(arguments)
    numbers = WORKERS_QUICK if options.quick else WORKERS
    scaling = [throughput(number, CALL_SECONDS, IMAGE_SECONDS, number * IMAGES_PER_WORKER) for number in numbers]
    ceiling = [throughput(number, 0.0, 0.0, CEILING_IMAGES) for number in numbers[:3]]
    memory = bytes_per_job(MEMORY_IMAGES)
    rounds = web_servers(1 if options.quick else ROUNDS)

    linearity = {
        f"linearity_{each.workers}": each.jobs_per_second / (each.workers * scaling[0].jobs_per_second)
        for each in scaling
    }
    header = ["", "workers", "jobs/s", "of linear", "Redis us/job", "commands/job", "workers' us/job"]
    rows = [["0.4 s for 8 images", *_cells(each, linearity[f"linearity_{each.workers}"])] for each in scaling] + [
        ["no model", *_cells(each, "")] for each in ceiling
    ]
    print(report.table(header, rows))
    print(f"Memory of Redis for a waiting job: {memory:.0f} bytes.")
    per_core = statistics.median(ours.per_core / bare.per_core for ours, bare in rounds)
    servers = dict(zip(("captiond", "bare Flask view"), zip(*rounds, strict=True), strict=True))
    uploads = [
        [
            name,
            statistics.median(run.per_second for run in runs),
            statistics.median(run.per_core for run in runs),
        ]
        for name, runs in servers.items()
    ]
    print(report.table(["web server", "uploads/s", "uploads per core and second"], uploads))
    print(f"Uploads per core, captiond against the bare view: {per_core:.2f}")
    report.write(
        options.json,
        {**linearity, "uploads_per_core_vs_bare": per_core},
        scaling=[asdict(each) for each in scaling],
        ceiling=[asdict(each) for each in ceiling],
        redis_bytes_per_job=memory,
        uploads={name: [asdict(run) for run in runs] for name, runs in servers.items()},
    )
    report.plot(options.plot, "Throughput relative to as many times one worker", linearity)


def _cells(measured: Throughput, linearity: float | str) -> list[object]:
    return [
        measured.workers,
        measured.jobs_per_second,
        linearity,
        measured.redis_microseconds,
        measured.redis_commands,
        measured.worker_microseconds,
    ]


def throughput(number: int, call_seconds: float, image_seconds: float, images: int) -> Throughput:
    """Measure `number` workers on a batch of `images` images."""
    with private_redis() as url:
        settings = unlimited(url)
        redis, celery = connect(url), make_celery(settings)
        components = Components(redis, settings)
        client = Client(settings, celery, "key")
        with running_workers(settings, number, call_seconds, image_seconds) as workers:
            _wait_for_workers(components, number)
            for worker in workers:  # so that they start together, with all images waiting
                psutil.Process(worker.pid).suspend()
            batch = client.send_batch(images)
            for worker in workers:
                psutil.Process(worker.pid).resume()
            started, before, cpu_before = _wait_for_done(client, batch, RAMP * images), totals(redis), _cpu(workers)
            ended, after, cpu_after = _wait_for_done(client, batch, (1 - RAMP) * images), totals(redis), _cpu(workers)
    jobs = ended.done - started.done
    return Throughput(
        workers=number,
        jobs_per_second=jobs / (ended.time - started.time),
        redis_microseconds=1e6 * (after[3] - before[3]) / jobs,
        redis_commands=(after[0] - before[0]) / jobs,
        worker_microseconds=1e6 * (cpu_after - cpu_before) / jobs,
    )


@dataclass(frozen=True)
class _Progress:
    done: int
    time: float


def _wait_for_done(client: Client, batch: str, images: float) -> _Progress:
    while (done := client.succeeded(batch)) < images:
        time.sleep(POLL_INTERVAL)
    return _Progress(done, time.monotonic())


def _wait_for_workers(components: Components, number: int) -> None:
    deadline = time.monotonic() + START_TIMEOUT
    while len(components.workers.alive()) < number:
        if time.monotonic() > deadline:
            raise TimeoutError(f"{number} workers did not start within {START_TIMEOUT:.0f} s.")
        time.sleep(POLL_INTERVAL)


def _cpu(processes: Sequence[subprocess.Popen[bytes]]) -> float:
    """CPU seconds of the processes."""
    return sum(sum(psutil.Process(process.pid).cpu_times()[:2]) for process in processes)


@contextlib.contextmanager
def running_workers(
    settings: Settings, number: int, call_seconds: float, image_seconds: float
) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Run `number` worker processes with a simulated model."""
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **settings.model_copy(update={"data": Path(folder)}).environment(),
            "BENCHMARK_CALL_SECONDS": str(call_seconds),
            "BENCHMARK_IMAGE_SECONDS": str(image_seconds),
        }
        command = [sys.executable, "-m", "celery", "-A", "benchmarks.waiting_worker", "worker", "-l", "WARNING"]
        workers = [
            subprocess.Popen(
                [*command, "-n", f"worker-{each}@%h"],
                env=environment,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            for each in range(number)
        ]
        try:
            yield workers
        finally:
            for worker in workers:
                worker.kill()  # its jobs are not needed any more
            for worker in workers:
                worker.wait()


def bytes_per_job(images: int) -> float:
    """Bytes of memory that Redis needs for a job of a batch of `images` waiting images."""
    with private_redis() as url:
        settings = unlimited(url)
        redis, celery = connect(url), make_celery(settings)
        Components(redis, settings).workers.announce(Worker(name="w", model=MODEL))
        before = _memory(redis)
        Client(settings, celery, "key").send_batch(images)
        return (_memory(redis) - before) / images


def _memory(redis: Redis) -> int:
    return int(redis.info("memory")["used_memory"])


def web_servers(rounds: int) -> list[tuple[Uploads, Uploads]]:
    """Uploads to captiond's web server and to the bare view, in each round."""
    runs: list[tuple[Uploads, Uploads]] = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        limits = {"CAPTIOND_MAX_OPEN_JOBS": 10**6, "CAPTIOND_MODEL": "demo"}
        ours = captiond("captiond", folder, limits)
        (folder / "saved").mkdir()
        bare = peer("bare", "saving_flask", folder, {"BENCHMARK_FOLDER": folder / "saved"}, redis=folder)
        try:
            ours.wait_ready()
            processes = processes_of(ours)
            processes["worker"].suspend()  # so that it takes no processor time from the web server
            servers = [(ours, processes["web"]), (bare, psutil.Process(bare.processes[0].pid))]
            images = different_images((1024, 768))
            for number in range(rounds + 1):  # the first is for warming up
                measured = [upload(server, process, list(islice(images, UPLOADS))) for server, process in servers]
                if number:
                    runs.append((measured[0], measured[1]))
            processes["worker"].resume()
        finally:
            ours.stop()
            bare.stop()
    return runs


def upload(server: Contender, process: psutil.Process, images: Sequence[bytes]) -> Uploads:
    """Send all images with `CLIENTS` clients."""
    pending: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    for image in images:
        pending.put(image)
    refused: list[int] = []

    def send() -> None:
        client = HttpClient(server.url)
        with contextlib.suppress(queue.Empty), contextlib.closing(client):
            while not refused:
                status, _, _ = client.request("POST", "/v1/jobs", pending.get_nowait())
                if status not in (201, 202):
                    refused.append(status)

    threads = [threading.Thread(target=send) for _ in range(CLIENTS)]
    started, cpu_before = time.monotonic(), _tree_cpu(process)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    seconds, cpu = time.monotonic() - started, _tree_cpu(process) - cpu_before
    if refused:
        raise RuntimeError(f"{server.name} answered an upload with status {refused[0]}.")
    return Uploads(len(images) / seconds, len(images) / cpu)


def _tree_cpu(process: psutil.Process) -> float:
    """CPU seconds of a process and its descendants."""
    return sum(sum(each.cpu_times()[:2]) for each in (process, *process.children(recursive=True)))


if __name__ == "__main__":
    main()
