"""Uploads through captiond's web server, through waitress without its limits, and through gunicorn's threads.

All serve the same application on the same Redis and upload store. Each is pinned to one core, and where two processes
serve it, to two cores; two of captiond are two servers with half of the clients each. The clients, Redis and a worker
that captions what is uploaded, at low priority, have the other core. Eight clients each send their next photograph
(640 x 480) when the last one was accepted; all photographs differ. Servers are measured in turn. "Per CPU second"
counts the CPU time of a server and the processes it started.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import psutil

from benchmarks import report
from benchmarks.clients import Load
from benchmarks.http_client import HttpClient
from benchmarks.load import different_images
from cli.redis_server import find_server
from cli.serve import free_port
from common.settings import PROJECT_ROOT, Settings
from web.services import THREADS

CLIENTS = 8
#: Seconds a server may take to answer.
START_TIMEOUT = 60.0
OURS, WAITRESS, GUNICORN = "captiond", "waitress", "gunicorn gthread"
OURS_2, GUNICORN_2 = "captiond, 2 servers", "gunicorn gthread, 2 processes"


@dataclass(frozen=True)
class Server:
    """The URLs of one contender, and the processes that were started for it."""

    urls: Sequence[str]
    processes: Sequence[psutil.Process]

    def cpu_seconds(self) -> float:
        """CPU seconds of its processes and their descendants."""
        times = [process.cpu_times() for process in self._process_tree()]
        return float(sum(time.user + time.system for time in times))

    def megabytes(self) -> float:
        """Resident memory of its processes and their descendants."""
        return float(sum(process.memory_info().rss for process in self._process_tree()) / 2**20)

    def _process_tree(self) -> list[psutil.Process]:
        return [process for root in self.processes for process in (root, *root.children(recursive=True))]


@dataclass(frozen=True)
class Run:
    """The latencies of one run, and the CPU seconds that the server took for it."""

    load: Load
    cpu_seconds: float

    @property
    def per_cpu_second(self) -> float:
        return len(self.load.latencies) / self.cpu_seconds


def main(arguments: list[str] | None = None) -> None:
    options = report.parser("benchmarks.web_servers", __doc__).parse_args(arguments)
    rounds, uploads = (1, 200) if options.quick else (5, 600)
    runs: dict[str, list[Run]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as servers:
        images = different_images()
        for _ in range(rounds):
            for name, server in servers.items():
                measure(server, list(islice(images, 50)))  # warm-up
                runs[name].append(measure(server, list(islice(images, uploads))))
        megabytes = {name: server.megabytes() for name, server in servers.items()}
    print(report.table(HEADER, [row(name, runs[name], megabytes[name]) for name in runs]))
    ratios = {f"per_cpu_second_vs_{name}": ratio(runs[OURS], runs[name]) for name in runs if name != OURS}
    report.write(options.json, ratios, megabytes=megabytes, rounds=rounds, uploads=uploads, clients=CLIENTS)
    bars = {name: statistics.median(run.per_cpu_second for run in runs[name]) for name in runs}
    report.plot(options.plot, "Uploads per CPU second of the web server", bars)


HEADER = ("", "uploads/s", "uploads per CPU second", "p50 ms", "p95 ms", "MB")


def row(name: str, runs: Sequence[Run], megabytes: float) -> list[object]:
    """Medians over the rounds."""

    def percentile(percent: int) -> float:
        return 1000 * statistics.median(run.load.percentile(percent) for run in runs)

    speed = statistics.median(run.load.images_per_second for run in runs)
    cost = statistics.median(run.per_cpu_second for run in runs)
    return [name, speed, cost, percentile(50), percentile(95), megabytes]


def ratio(runs: Sequence[Run], references: Sequence[Run]) -> float:
    """Median over the rounds of the ratio of uploads per CPU second."""
    return statistics.median(
        run.per_cpu_second / reference.per_cpu_second for run, reference in zip(runs, references, strict=True)
    )


@contextmanager
def running(folder: Path) -> Iterator[dict[str, Server]]:
    """Start Redis, a worker and all servers, and wait until the servers answer."""
    redis_port = free_port()
    settings = Settings(
        data=folder,
        redis_url=f"redis://127.0.0.1:{redis_port}/0",
        model="demo",
        max_open_jobs=10**6,
        max_open_jobs_per_key=0,
    )
    with ExitStack() as stack, (folder / "log").open("wb") as log:

        def start(cores: str, command: Sequence[str], port: int = 0) -> psutil.Process:
            process = subprocess.Popen(
                ["taskset", "--cpu-list", cores, *command],
                cwd=PROJECT_ROOT,
                env=settings.model_copy(update={"port": port}).environment(),
                stdout=log,
                stderr=subprocess.STDOUT,
            )
            stack.callback(process.wait)
            stack.callback(process.terminate)
            return psutil.Process(process.pid)

        def serve(name: str, servers: int, cores: str) -> Server:
            ports = [free_port() for _ in range(servers)]
            processes = [start(cores, [sys.executable, *command_of(name, port)], port) for port in ports]
            return Server([f"http://127.0.0.1:{port}" for port in ports], processes)

        redis = find_server() or sys.exit("redis-server is not installed.")
        start("1", [redis, "--port", str(redis_port), "--dir", str(folder), "--appendonly", "yes", "--save", ""])
        start("1", ["nice", "-n", "10", sys.executable, "-m", "celery", "-A", "worker", "worker"])
        servers = {name: serve(name, 1, "0") for name in (OURS, WAITRESS, GUNICORN)}
        servers |= {OURS_2: serve(OURS_2, 2, "0-1"), GUNICORN_2: serve(GUNICORN_2, 1, "0-1")}
        for name, server in servers.items():
            for url in server.urls:
                wait_until_ready(name, url, folder / "log")
        yield servers


def command_of(name: str, port: int) -> list[str]:
    """The arguments of Python that serve the application on this port."""
    listen = f"127.0.0.1:{port}"
    if name in (OURS, OURS_2):
        return ["-m", "web"]
    if name == WAITRESS:
        return ["-m", "waitress", f"--threads={THREADS}", f"--listen={listen}", "--call", "web.app:create_app"]
    processes = 2 if name == GUNICORN_2 else 1
    options = ["--worker-class=gthread", f"--threads={THREADS}", f"--workers={processes}", f"--bind={listen}"]
    return ["-m", "gunicorn", *options, "web.app:create_app()"]


def wait_until_ready(name: str, url: str, log: Path) -> None:
    """Wait until the server answers. Raises RuntimeError with the end of the log after `START_TIMEOUT` seconds."""
    deadline = time.monotonic() + START_TIMEOUT
    while True:
        with closing(HttpClient(url)) as client:
            if client.request("GET", "/healthz")[0] == 200:
                return
        if time.monotonic() > deadline:
            raise RuntimeError(f"{name} does not answer:\n{log.read_text()[-2000:]}")
        time.sleep(0.2)


def measure(server: Server, images: Sequence[bytes]) -> Run:
    """Upload all images with `CLIENTS` clients. Raises RuntimeError if one is not accepted."""
    latencies: list[float] = []
    refused: list[object] = []

    def upload(index: int) -> None:
        with closing(HttpClient(server.urls[index % len(server.urls)])) as client:
            for image in images[index::CLIENTS]:
                started = time.perf_counter()
                status, _, answer = client.request("POST", "/v1/jobs", image)
                latencies.append(time.perf_counter() - started)
                if status != 202:
                    refused.append(answer)

    threads = [threading.Thread(target=upload, args=(index,)) for index in range(CLIENTS)]
    cpu_before, started = server.cpu_seconds(), time.perf_counter()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    load = Load(latencies, time.perf_counter() - started)
    if refused:
        raise RuntimeError(f"{len(refused)} uploads were refused: {refused[0]}")
    return Run(load, server.cpu_seconds() - cpu_before)


if __name__ == "__main__":
    main()
