"""The whole service against other ways to serve the same model: HTTP in, caption out, on one machine in one run.

Ours runs as `captiond serve` does, in the precision it chooses and again in fp32. Against it: the way it began (Flask
calling `generate` in the request), a plain Celery task for each picture, LitServe with its own batching, and our engine
alone as the limit. The model has the deployed student's shape with random weights and says exactly 12 tokens, so that
the work is the same for all; the pictures have a photograph's size, and no two are the same. All are up at once and
are measured in turn, again and again.
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
#: Pictures that one client alone sends in a round, each to all contenders before the next.
ALONE = 6
#: The captions' length in tokens, with start and end.
LENGTH = 13
OURS, OURS_FP32, ENGINE = "captiond", "captiond fp32", "engine alone"
SEED, CELERY, LITSERVE = "flask + generate", "celery task", "litserve"


def main(arguments: list[str] | None = None) -> None:
    chosen = report.parser("benchmarks.service", __doc__).parse_args(arguments)
    rounds, many, single = (1, 16, 2) if chosen.quick else (3, CLIENTS, ALONE)
    crowd: dict[str, list[Load]] = defaultdict(list)
    alone: dict[str, list[Load]] = defaultdict(list)
    with tempfile.TemporaryDirectory() as folder, running(Path(folder)) as contenders:
        pictures = students.photographs()
        for each in contenders:
            each.caption(list(islice(pictures, 2)), 1)  # so that nothing is cold
        for _ in range(rounds):
            for picture in islice(pictures, single):
                for each in contenders:
                    alone[each.name].append(each.caption([picture], 1))
            for each in contenders:
                crowd[each.name].append(each.caption(list(islice(pictures, many)), CLIENTS))
        memory = {each.name: each.peak_megabytes() for each in contenders}
    print(report.table(HEADER, [row(name, crowd[name], alone[name], memory[name]) for name in crowd]), "\n")
    ratios = ratios_of(crowd, alone)
    for key, value in ratios.items():
        print(f"{key:24} {value:.3f}")
    speeds = {name: [load.pictures_per_second for load in loads] for name, loads in crowd.items()}
    report.write(
        chosen.json,
        ratios,
        pictures_per_second=speeds,
        peak_megabytes=memory,
        rounds=rounds,
        pictures=many,
        clients=CLIENTS,
    )
    first_way = medians(crowd)[SEED]
    bars = {name: speed / first_way for name, speed in medians(crowd).items()}
    report.plot(chosen.plot, f"Captions a second against {SEED}, {CLIENTS} clients", bars)


@contextlib.contextmanager
def running(folder: Path) -> Iterator[list[Contender]]:
    """All contenders, ready."""
    model, tokenizer = students.deployed()
    student = folder / "student"
    model.save_pretrained(student)
    tokenizer.save_pretrained(student)
    same = {"CAPTIOND_MODEL": student, "CAPTIOND_MIN_LENGTH": LENGTH, "CAPTIOND_MAX_LENGTH": LENGTH}
    with contextlib.ExitStack() as stack:
        found = []
        for name, precision in ((OURS, "auto"), (OURS_FP32, "fp32")):
            found.append(captiond(name, folder, {**same, "CAPTIOND_PRECISION": precision}))
            stack.callback(found[-1].stop)
        found[0].wait_ready()  # the plain Celery worker uses its Redis
        for name, module in ((ENGINE, "engine"), (SEED, "seed"), (CELERY, "plain_celery"), (LITSERVE, "lit")):
            found.append(peer(name, module, folder, same, redis=folder / OURS / "redis" / "redis.sock"))
            stack.callback(found[-1].stop)
        for contender in found:
            contender.wait_ready()
        yield found


HEADER = ("", f"pictures/s, {CLIENTS} clients", "p50 s", "p95 s", "one client, p50 s", "peak MB")


def row(name: str, crowd: Sequence[Load], alone: Sequence[Load], megabytes: float) -> list[object]:
    speed = statistics.median(load.pictures_per_second for load in crowd)
    together = joined(crowd)
    return [name, speed, together.percentile(50), together.percentile(95), joined(alone).percentile(50), megabytes]


def medians(crowd: dict[str, list[Load]]) -> dict[str, float]:
    return {name: statistics.median(load.pictures_per_second for load in loads) for name, loads in crowd.items()}


def joined(loads: Sequence[Load]) -> Load:
    """All rounds as one."""
    return Load([each for load in loads for each in load.latencies], sum(load.seconds for load in loads))


def ratios_of(crowd: dict[str, list[Load]], alone: dict[str, list[Load]]) -> dict[str, float]:
    """Medians of the ratios of what was measured in the same round."""

    def versus(ours: str, other: str) -> float:
        pairs = zip(crowd[ours], crowd[other], strict=True)
        return statistics.median(one.pictures_per_second / two.pictures_per_second for one, two in pairs)

    found = {"service_vs_engine": versus(OURS, ENGINE)}
    for name, key in ((SEED, "seed"), (CELERY, "celery_task"), (LITSERVE, "litserve")):
        found[f"vs_{key}"] = versus(OURS, name)
        found[f"fp32_vs_{key}"] = versus(OURS_FP32, name)
    both = zip(alone[OURS], alone[ENGINE], strict=True)
    found["idle_overhead_ms"] = 1000 * statistics.median(one.seconds - two.seconds for one, two in both)
    return found


if __name__ == "__main__":
    main()
