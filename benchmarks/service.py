"""End-to-end throughput and latency of captiond and other servers with the same model, measured in one run.

captiond runs as `captiond serve`, in the precision that it chooses and in fp32. It is compared with Flask calling
`generate` in the request, one Celery task per image, LitServe with its dynamic batching, and captiond's engine without
a service, which is the upper limit. The model has the deployed student's configuration with random weights, and each
caption has exactly 12 tokens, so that all do the same work. The images have a photograph's size and are all different.
All servers run at the same time and are measured in turn.
"""

from __future__ import annotations

import contextlib
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path

from benchmarks import report, students
from benchmarks.clients import Load
from benchmarks.contenders import Contender, captiond, peer

CLIENTS = 64
#: Images that a single client sends in a round, each to all contenders before the next.
SINGLE_IMAGES = 6
#: Length of the captions in tokens, including start and end.
LENGTH = 13
OURS, OURS_FP32, ENGINE = "captiond", "captiond fp32", "engine alone"
FLASK, CELERY, LITSERVE = "flask + generate", "celery task", "litserve"
#: The modules of `benchmarks.peers`.
PEERS = {ENGINE: "engine", FLASK: "plain_flask", CELERY: "plain_celery", LITSERVE: "litserve_peer"}


def main(arguments: list[str] | None = None) -> None:
    options = report.parser("benchmarks.service", __doc__).parse_args(arguments)
    rounds, concurrent_images, single_images = (1, 16, 2) if options.quick else (3, CLIENTS, SINGLE_IMAGES)
    concurrent: dict[str, list[Load]] = defaultdict(list)
    single: dict[str, list[Load]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as contenders:
        images = students.photographs()
        for contender in contenders:
            contender.caption(list(islice(images, 2)), 1)  # warm-up
        for _ in range(rounds):
            for image in islice(images, single_images):
                for contender in contenders:
                    single[contender.name].append(contender.caption([image], 1))
            for contender in contenders:
                concurrent[contender.name].append(contender.caption(list(islice(images, concurrent_images)), CLIENTS))
        memory = {contender.name: contender.peak_megabytes() for contender in contenders}
    print(report.table(HEADER, [row(name, concurrent[name], single[name], memory[name]) for name in concurrent]), "\n")
    ratios = ratios_of(concurrent, single)
    for key, value in ratios.items():
        print(f"{key:24} {value:.3f}")
    speeds = {name: [load.images_per_second for load in loads] for name, loads in concurrent.items()}
    report.write(
        options.json,
        ratios,
        pictures_per_second=speeds,
        peak_megabytes=memory,
        rounds=rounds,
        pictures=concurrent_images,
        clients=CLIENTS,
    )
    median_speeds = medians(concurrent)
    bars = {name: speed / median_speeds[FLASK] for name, speed in median_speeds.items()}
    report.plot(options.plot, f"Captions per second relative to {FLASK}, {CLIENTS} clients", bars)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[list[Contender]]:
    """Start all contenders and wait until they are ready."""
    model, tokenizer = students.deployed()
    student = folder / "student"
    model.save_pretrained(student)
    tokenizer.save_pretrained(student)
    variables = {"CAPTIOND_MODEL": student, "CAPTIOND_MIN_LENGTH": LENGTH, "CAPTIOND_MAX_LENGTH": LENGTH}
    with contextlib.ExitStack() as stack:
        contenders = []
        for name, precision in ((OURS, "auto"), (OURS_FP32, "fp32")):
            contenders.append(captiond(name, folder, {**variables, "CAPTIOND_PRECISION": precision}))
            stack.callback(contenders[-1].stop)
        contenders[0].wait_ready()  # plain_celery uses its Redis
        for name, module in PEERS.items():
            contenders.append(peer(name, module, folder, variables, redis=folder / OURS / "redis" / "redis.sock"))
            stack.callback(contenders[-1].stop)
        for contender in contenders:
            contender.wait_ready()
        yield contenders


HEADER = ("", f"images/s, {CLIENTS} clients", "p50 s", "p95 s", "one client, p50 s", "peak MB")


def row(name: str, concurrent: Sequence[Load], single: Sequence[Load], megabytes: float) -> list[object]:
    speed = statistics.median(load.images_per_second for load in concurrent)
    merged = merge(concurrent)
    return [name, speed, merged.percentile(50), merged.percentile(95), merge(single).percentile(50), megabytes]


def medians(concurrent: dict[str, list[Load]]) -> dict[str, float]:
    """Median images per second of each contender."""
    return {name: statistics.median(load.images_per_second for load in loads) for name, loads in concurrent.items()}


def merge(loads: Sequence[Load]) -> Load:
    """All rounds as one load."""
    return Load([latency for load in loads for latency in load.latencies], sum(load.seconds for load in loads))


def ratios_of(concurrent: dict[str, list[Load]], single: dict[str, list[Load]]) -> dict[str, float]:
    """Medians over the rounds of the ratios within each round."""

    def speedup(name: str, other: str) -> float:
        pairs = zip(concurrent[name], concurrent[other], strict=True)
        return statistics.median(load.images_per_second / reference.images_per_second for load, reference in pairs)

    ratios = {"service_vs_engine": speedup(OURS, ENGINE)}
    for name, key in ((FLASK, "seed"), (CELERY, "celery_task"), (LITSERVE, "litserve")):
        ratios[f"vs_{key}"] = speedup(OURS, name)
        ratios[f"fp32_vs_{key}"] = speedup(OURS_FP32, name)
    pairs = zip(single[OURS], single[ENGINE], strict=True)
    ratios["idle_overhead_ms"] = 1000 * statistics.median(load.seconds - engine.seconds for load, engine in pairs)
    return ratios


if __name__ == "__main__":
    main()
