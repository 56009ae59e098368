"""The whole service against other ways to serve the same model: HTTP in, caption out, on one machine in one run.

Ours runs as `captiond serve` does, with the precision it chooses and again in fp32. Against it: the way it began (Flask
calling `generate` in the request), a plain Celery task for each picture, LitServe with its own batching, and our engine
alone as the limit. The model has the deployed student's shape with random weights and says exactly 12 tokens, so that
the work is the same for all; the pictures are photographs' size, and no two are the same. All servers are up at once,
and they are measured in turn, again and again.
"""

from __future__ import annotations

import contextlib
import io
import statistics
import tempfile
import urllib.request
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks import report, students
from benchmarks.clients import Load, send
from benchmarks.peers.packing import packed
from benchmarks.servers import Server, free_port, launch

CLIENTS = 64
#: Pictures that one client alone sends in a round.
ALONE = 6
#: The captions' length in tokens, with start and end.
LENGTH = 13
OURS, OURS_FP32, ENGINE = "captiond", "captiond fp32", "engine alone"
SEED, CELERY, LITSERVE = "flask + generate", "celery task", "litserve"


def main(arguments: list[str] | None = None) -> None:
    chosen = report.parser("benchmarks.service", __doc__).parse_args(arguments)
    rounds, many = (1, 24) if chosen.quick else (3, 2 * CLIENTS)
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as servers:
        pictures = photographs()
        crowd: dict[str, list[Load]] = defaultdict(list)
        alone: dict[str, list[Load]] = defaultdict(list)
        limit: list[float] = []
        single: list[float] = []
        for server in servers.values():
            warm = [next(pictures) for _ in range(2)]
            post(server.url, packed(warm)) if server.name == ENGINE else send(server.url, warm, 1)
        for _ in range(rounds):
            for name, server in servers.items():
                if name == ENGINE:
                    limit.append(many / post(server.url, packed([next(pictures) for _ in range(many)])))
                    single += [post(server.url, packed([next(pictures)])) for _ in range(ALONE)]
                    continue
                alone[name].append(send(server.url, [next(pictures) for _ in range(ALONE)], 1))
                crowd[name].append(send(server.url, [next(pictures) for _ in range(many)], CLIENTS))
        memory = {name: server.peak_megabytes() for name, server in servers.items()}
    show(crowd, alone, limit, memory)
    ratios = ratios_of(crowd, alone, limit, single)
    for key, value in ratios.items():
        print(f"{key:24} {value:.3f}")
    report.write(
        chosen.json,
        ratios,
        rounds=rounds,
        pictures=many,
        clients=CLIENTS,
        peak_megabytes=memory,
        pictures_per_second={name: [each.pictures_per_second for each in loads] for name, loads in crowd.items()},
        engine_pictures_per_second=limit,
    )


@contextlib.contextmanager
def running(folder: Path) -> Iterator[dict[str, Server]]:
    """All contenders, ready."""
    model, tokenizer = students.mission()
    student = folder / "student"
    model.save_pretrained(student)
    tokenizer.save_pretrained(student)
    same = {"CAPTIOND_MODEL": student, "CAPTIOND_MIN_LENGTH": LENGTH, "CAPTIOND_MAX_LENGTH": LENGTH}
    servers = {}
    try:
        for name, precision in ((OURS, "auto"), (OURS_FP32, "fp32")):
            servers[name] = captiond(name, folder, {**same, "CAPTIOND_PRECISION": precision})
        broker = f"redis+socket://{folder / OURS / 'redis' / 'redis.sock'}?virtual_host=5"
        for name, module in ((SEED, "seed"), (CELERY, "plain_celery"), (LITSERVE, "lit"), (ENGINE, "bare_engine")):
            servers[name] = peer(name, module, folder, {**same, "BENCHMARK_BROKER": broker})
        for server in servers.values():
            server.wait_ready()
        yield servers
    finally:
        for server in reversed(servers.values()):
            server.stop()


def captiond(name: str, folder: Path, environment: dict[str, object]) -> Server:
    port = free_port()
    data, log = folder / name, folder / f"{name}.log"
    process = launch(["-m", "cli.main", "serve", "--port", str(port), "--data", str(data)], log, environment)
    server = Server(name, f"http://127.0.0.1:{port}/v1/jobs", f"http://127.0.0.1:{port}/readyz", [process])
    server.wait_ready()  # the plain Celery worker uses its Redis
    return server


def peer(name: str, module: str, folder: Path, environment: dict[str, object]) -> Server:
    port, log = free_port(), folder / f"{name}.log"
    place = f"benchmarks.peers.{module}"
    environment = {**environment, "BENCHMARK_PORT": port}
    processes = [launch(["-m", place], log, environment)]
    if name == CELERY:
        worker = ["-m", "celery", "-A", place, "worker", "--pool", "solo", "--loglevel", "WARNING"]
        processes.append(launch(worker, log, environment))
    url = f"http://127.0.0.1:{port}/caption"
    return Server(name, url, url, processes)


def photographs() -> Iterator[bytes]:
    """JPEGs of a photograph's size and detail, no two the same."""
    random = np.random.default_rng(0)
    while True:
        coarse = Image.fromarray(random.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        coarse.resize((1024, 768), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        yield buffer.getvalue()


def post(url: str, body: bytes) -> float:
    """The seconds that the bare engine says."""
    with urllib.request.urlopen(urllib.request.Request(url, data=body), timeout=600) as answer:
        return float(answer.read())


def show(
    crowd: dict[str, list[Load]], alone: dict[str, list[Load]], limit: list[float], memory: dict[str, float]
) -> None:
    """The table."""
    rows: list[list[object]] = [[ENGINE, statistics.median(limit), "", "", "", memory[ENGINE]]]
    for name, loads in crowd.items():
        speed = statistics.median(load.pictures_per_second for load in loads)
        together, lonely = joined(loads), joined(alone[name])
        latencies = [together.percentile(50), together.percentile(95), lonely.percentile(50)]
        rows.append([name, speed, *latencies, memory[name]])
    header = ("", f"pictures/s, {CLIENTS} clients", "p50 s", "p95 s", "one client, p50 s", "peak MB")
    print(report.table(header, rows))


def joined(loads: list[Load]) -> Load:
    """All rounds as one."""
    return Load([each for load in loads for each in load.latencies], sum(load.seconds for load in loads))


def ratios_of(
    crowd: dict[str, list[Load]], alone: dict[str, list[Load]], limit: list[float], single: list[float]
) -> dict[str, float]:
    """Medians of the ratios of what was measured in the same round."""
    ours = [load.pictures_per_second for load in crowd[OURS]]

    def versus(others: list[float], mine: list[float] = ours) -> float:
        return statistics.median(one / other for one, other in zip(mine, others, strict=True))

    found = {"service_vs_engine": versus(limit)}
    exact = [load.pictures_per_second for load in crowd[OURS_FP32]]
    for name, key in ((SEED, "seed"), (CELERY, "celery_task"), (LITSERVE, "litserve")):
        theirs = [load.pictures_per_second for load in crowd[name]]
        found[f"vs_{key}"] = versus(theirs)
        found[f"fp32_vs_{key}"] = versus(theirs, exact)
    found["idle_overhead_ms"] = 1000 * (joined(alone[OURS]).percentile(50) - statistics.median(single))
    return found


if __name__ == "__main__":
    main()
