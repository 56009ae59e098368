"""Time and memory of a cold start: `import web`, the web application, and a worker with its model loaded.

Each runs in its own process; only the disk cache is warm.
"""

from __future__ import annotations

import statistics
import subprocess
import sys

from benchmarks import report

#: The code that each process runs before its memory is measured.
STARTS = {
    "import web": "import web",
    "web application": "from web import create_app; import fakeredis; create_app(redis=fakeredis.FakeStrictRedis())",
    "worker with demo": (
        "from common.settings import Settings; from captioning import weights; from captioning.student.captioner"
        " import StudentCaptioner; s = Settings(model='demo'); StudentCaptioner(weights.load(s), s)"
    ),
}
MEASURE = (
    "import time; t = time.perf_counter(); {code}; import resource, sys;"
    " print(time.perf_counter() - t, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 'torch' in sys.modules)"
)


def main(arguments: list[str] | None = None) -> None:
    options = report.parser("benchmarks.cold_start", __doc__).parse_args(arguments)
    repeats = 2 if options.quick else 5
    rows: list[list[object]] = []
    figures: dict[str, dict[str, float]] = {}
    for name, code in STARTS.items():
        runs = [start(code) for _ in range(repeats)]
        seconds, megabytes = (statistics.median(run[column] for run in runs) for column in (0, 1))
        rows.append([name, seconds, megabytes, "yes" if runs[0][2] else "no"])
        figures[name] = {"seconds": seconds, "megabytes": megabytes}
    print(report.table(["start", "seconds", "peak MB", "torch"], rows))
    ratio = figures["worker with demo"]["seconds"] / figures["import web"]["seconds"]
    report.write(options.json, {"worker_vs_web": ratio}, starts=figures)
    report.plot(options.plot, "Seconds of a cold start", {name: figure["seconds"] for name, figure in figures.items()})


def start(code: str) -> tuple[float, float, bool]:
    """Run the code in a new process; return seconds, peak megabytes, and whether it imported torch."""
    command = [sys.executable, "-W", "ignore", "-c", MEASURE.format(code=code)]
    printed = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    return float(printed[0]), float(printed[1]), printed[2] == "True"


if __name__ == "__main__":
    main()
