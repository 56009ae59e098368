"""Time and memory that hostile images and forms cost, measured in a separate process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

#: Limits for one request: CPU time in seconds, and additional memory in megabytes.
MAX_SECONDS, MAX_MEGABYTES = 2.0, 300.0


@pytest.fixture(scope="module")
def measurements() -> list[dict[str, Any]]:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("Measuring needs Linux' /proc.")
    run = subprocess.run(
        [sys.executable, "-m", "tests.support.resource_probe"], stdout=subprocess.PIPE, check=True, text=True
    )
    return [json.loads(line) for line in run.stdout.splitlines()]


def test_every_item_is_accepted_or_refused_with_its_problem(measurements: list[dict[str, Any]]) -> None:
    assert len(measurements) > 140
    assert [item for item in measurements if not {item["slug"], str(item["status"])} & set(item["expected"])] == []


def test_every_problem_has_a_detail(measurements: list[dict[str, Any]]) -> None:
    assert [
        item for item in measurements if item["status"] != 202 and (item["status"] >= 500 or len(item["detail"]) < 20)
    ] == []


def test_the_cpu_time_of_every_item_is_bounded(measurements: list[dict[str, Any]]) -> None:
    assert [item for item in measurements if item["seconds"] > MAX_SECONDS] == []


def test_the_memory_of_every_item_is_bounded(measurements: list[dict[str, Any]]) -> None:
    assert [item for item in measurements if item["megabytes"] > MAX_MEGABYTES] == []
