"""How long a start takes, and how much memory it holds: `import web`, and a worker until its model is loaded.

Each is a process of its own, so that nothing is warm but the disk's cache.
"""

from __future__ import annotations

import statistics
import subprocess
import sys

from benchmarks import report

#: What each process does before it says how much memory it holds.
STARTS = {
    "import web": "import web",
    "web application": "from web import create_app; import fakeredis; create_app(redis=fakeredis.FakeStrictRedis())",
    "worker with demo": (
        "from common.settings import Settings; from worker import weights; from captioning.captioner import"
        " StudentCaptioner; s = Settings(model='demo'); StudentCaptioner(weights.load(s), s)"
    ),
}
MEASURE = (
    "import time; t = time.perf_counter(); {code}; import resource, sys;"
    " print(time.perf_counter() - t, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 'torch' in sys.modules)"
)


def main(arguments: list[str] | None = None) -> None:
    chosen = report.parser("benchmarks.cold", __doc__).parse_args(arguments)
    repeats = 2 if chosen.quick else 5
    rows: list[list[object]] = []
    figures: dict[str, dict[str, float]] = {}
    for name, code in STARTS.items():
        runs = [start(code) for _ in range(repeats)]
        seconds, megabytes = (statistics.median(run[place] for run in runs) for place in (0, 1))
        rows.append([name, seconds, megabytes, "yes" if runs[0][2] else "no"])
        figures[name] = {"seconds": seconds, "megabytes": megabytes}
    print(report.table(["start", "seconds", "MB at most", "torch"], rows))
    ratio = figures["worker with demo"]["seconds"] / figures["import web"]["seconds"]
    report.write(chosen.json, {"worker_vs_web": ratio}, starts=figures)
    report.plot(chosen.plot, "Seconds of a cold start", {name: each["seconds"] for name, each in figures.items()})


def start(code: str) -> tuple[float, float, bool]:
    """Seconds, megabytes, and whether torch was imported."""
    command = [sys.executable, "-W", "ignore", "-c", MEASURE.format(code=code)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(printed[0]), float(printed[1]), printed[2] == "True"


if __name__ == "__main__":
    main()
