"""A manifest of 200,000 small pictures in WebDataset shards, captioned by two workers with a model that costs nothing.

It is captioned undisturbed, and again while a worker is killed three times. Reported are whether the results have the
same bytes, pictures a second, and the memory of Redis and of the workers with their decoder processes over time.
"""

from __future__ import annotations

import io
import tarfile
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any

import psutil
from PIL import Image
from redis import Redis

from benchmarks import report
from benchmarks.http_client import HttpClient
from benchmarks.processes import Process, Processes, kill
from common import strict_json

#: Pictures of the manifest and of each of its tar files, and the side of a picture in pixels.
PICTURES, PICTURES_QUICK, PICTURES_PER_SHARD, SIDE = 200_000, 10_000, 10_000, 32
WORKERS, KILLS = 2, 3
#: Seconds after which the chunk of a killed worker goes to another.
LEASE_SECONDS = 5.0
#: Seconds between two looks at the batch, and number of rows of the table of memory.
SAMPLE_INTERVAL, ROWS = 1.0, 10
WORKER = "benchmarks.colour_worker"


@dataclass(frozen=True)
class Sample:
    """Seconds since the start, chunks that are done, and megabytes of Redis and of each worker."""

    seconds: float
    chunks: int
    redis: float
    workers: tuple[float, ...]


@dataclass
class Run:
    """A manifest that was captioned: its batch, samples over time, and the SHA-256 of each file of results."""

    batch: dict[str, Any] = field(default_factory=dict)
    samples: list[Sample] = field(default_factory=list)
    digests: dict[str, str] = field(default_factory=dict)
    kills: int = 0

    @property
    def seconds(self) -> float:
        return self.samples[-1].seconds

    @property
    def pictures_per_second(self) -> float:
        pictures = self.batch["manifest"]["pictures"]
        return float(pictures["captioned"] + pictures["failed"]) / self.seconds


def main(arguments: list[str] | None = None) -> None:
    parser = report.parser("benchmarks.manifest", __doc__)
    parser.add_argument("--pictures", type=int, help=f"pictures of the manifest ({PICTURES:,})")
    options = parser.parse_args(arguments)
    count = options.pictures or (PICTURES_QUICK if options.quick else PICTURES)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        manifest = write_shards(folder / "pictures", count)
        with workers(folder / "service", str(folder / "pictures")) as running:
            undisturbed = caption(running, manifest, "undisturbed")
            killed = caption(running, manifest, "killed", KILLS)
    equal = undisturbed.digests == killed.digests
    print(f"{count} pictures; a worker killed {killed.kills} times; results equal in every byte: {equal}")
    for label, run in (("undisturbed", undisturbed), ("killed", killed)):
        pictures = run.batch["manifest"]["pictures"]
        print(f"\n{label}: {run.seconds:.0f} s, {run.pictures_per_second:.0f} pictures a second, {pictures}")
        step = max(1, len(run.samples) // ROWS)
        rows = [[f"{s.seconds:.0f}", s.chunks, s.redis, *s.workers] for s in (*run.samples[::step], run.samples[-1])]
        header = ["seconds", "chunks done", "MB of Redis", *(f"MB of worker {n + 1}" for n in range(WORKERS))]
        print(report.table(header, rows))
    report.write(
        options.json,
        {"pictures a second, killed against undisturbed": killed.pictures_per_second / undisturbed.pictures_per_second},
        pictures=count,
        equal=equal,
        samples={"undisturbed": [vars(s) for s in undisturbed.samples], "killed": [vars(s) for s in killed.samples]},
    )


def write_shards(folder: Path, count: int) -> str:
    """Write `count` different pictures as PNG in tar files; returns the URL of all of them."""
    folder.mkdir(parents=True)
    shards = -(-count // PICTURES_PER_SHARD)
    for shard in range(shards):
        with tarfile.open(folder / f"pictures-{shard:06}.tar", "w") as tar:
            for number in range(shard * PICTURES_PER_SHARD, min(count, (shard + 1) * PICTURES_PER_SHARD)):
                data = io.BytesIO()
                Image.new("RGB", (SIDE, SIDE), (number % 256, number // 256 % 256, number // 65536)).save(data, "PNG")
                member = tarfile.TarInfo(f"{number:09}.png")
                member.size = data.tell()
                data.seek(0)
                tar.addfile(member, data)
    return f"file://{folder}/pictures-{{{0:06}..{shards - 1:06}}}.tar"


class Workers:
    """A service with workers of the Celery app `app` that can be killed."""

    def __init__(self, processes: Processes, app: str) -> None:
        self.processes = processes
        self._app = app
        self.client = HttpClient(processes.url)
        self.redis = Redis.from_url(processes.settings.redis_location)
        self.workers = [processes.start_worker(app) for _ in range(WORKERS)]

    def replace(self, number: int) -> None:
        """Kill a worker and start another one."""
        kill(self.workers[number])
        self.workers[number] = self.processes.start_worker(self._app)

    def results(self, output: str) -> dict[str, str]:
        """The SHA-256 of each file of results."""
        folder = self.processes.settings.data / "results" / output
        return {path.name: sha256(path.read_bytes()).hexdigest() for path in sorted(folder.glob("part-*"))}

    def sample(self, seconds: float, chunks: int) -> Sample:
        redis = int(self.redis.info("memory")["used_memory"]) / 2**20
        return Sample(round(seconds, 1), chunks, redis, tuple(_megabytes(worker) for worker in self.workers))


@contextmanager
def workers(folder: Path, pictures: str, app: str = WORKER, **settings: Any) -> Iterator[Workers]:
    """Redis, a web server and the workers, which read manifests below the URL `pictures`."""
    processes = Processes(folder, lease_seconds=LEASE_SECONDS, manifest_roots=pictures, **settings)
    try:
        processes.start_redis()
        processes.start_web()
        running = Workers(processes, app)
        with closing(running.client), closing(running.redis):
            for worker in running.workers:
                processes.wait_for_worker(worker)
            processes.wait_ready()
            yield running
    finally:
        processes.stop()


def caption(running: Workers, manifest: str, output: str, kills: int = 0) -> Run:
    """Caption a manifest, and kill a worker `kills` times meanwhile, evenly."""
    run, started = Run(), time.monotonic()
    body = strict_json.dumps({"manifest": manifest, "output": output}).encode()
    status, _, run.batch = running.client.request("POST", "/v1/batches", body, {"Content-Type": "application/json"})
    if status != 202:
        raise RuntimeError(f"The manifest was refused with status {status}: {run.batch}")
    while run.batch["status"] == "in_progress":
        time.sleep(SAMPLE_INTERVAL)
        run.batch = running.client.request("GET", run.batch["urls"]["self"])[2]
        chunks = run.batch["manifest"]["chunks"]
        run.samples.append(running.sample(time.monotonic() - started, chunks["done"]))
        cut = run.batch["manifest"]["status"] == "done"
        if run.kills < kills and cut and chunks["done"] * (kills + 1) >= chunks["total"] * (run.kills + 1):
            running.replace(run.kills % WORKERS)
            run.kills += 1
    run.digests = running.results(output)
    return run


def _megabytes(process: Process) -> float:
    """Resident memory of a process and its children."""
    try:
        parent = psutil.Process(process.pid)
        return float(sum(each.memory_info().rss for each in (parent, *parent.children(recursive=True)))) / 2**20
    except psutil.NoSuchProcess:  # a decoder process that ended meanwhile
        return 0.0


if __name__ == "__main__":
    main()
