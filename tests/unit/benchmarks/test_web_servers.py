"""The comparison of web servers: the ratio is that of rounds, and descendants count as part of a server."""

from __future__ import annotations

import subprocess
import sys

import psutil
import pytest

from benchmarks.clients import Load
from benchmarks.web_servers import Run, Server, ratio


def run(uploads: int, cpu_seconds: float) -> Run:
    return Run(Load([0.01] * uploads, 1.0), cpu_seconds)


def test_the_ratio_is_the_median_of_the_ratios_within_each_round() -> None:
    ours, others = [run(100, 1.0), run(100, 2.0), run(100, 1.0)], [run(100, 2.0), run(100, 2.0), run(100, 8.0)]

    assert ratio(ours, others) == pytest.approx(2.0)


def test_child_processes_count() -> None:
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'print(1, flush=True); input()'])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        parent.stdout.readline()
        process = psutil.Process(parent.pid)

        with_child, alone = Server([], [process]).megabytes(), process.memory_info().rss / 2**20
        parent.communicate(b"\n")

    assert with_child > alone
