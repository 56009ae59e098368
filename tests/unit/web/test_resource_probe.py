"""The whole corpus of hostile pictures and forms, measured in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

#: What one request may cost: seconds of processor time, and megabytes beyond what was there before.
MOST_SECONDS, MOST_MEGABYTES = 2.0, 300.0


@pytest.fixture(scope="module")
def ordeals() -> list[dict[str, Any]]:
    if not Path("/proc/self/clear_refs").exists():
        pytest.skip("The costs are measured by Linux' /proc.")
    run = subprocess.run(
        [sys.executable, "-m", "tests.support.resource_probe"], stdout=subprocess.PIPE, check=True, text=True
    )
    return [json.loads(line) for line in run.stdout.splitlines()]


def test_each_is_accepted_or_refused_with_the_problem_that_it_is(ordeals: list[dict[str, Any]]) -> None:
    assert len(ordeals) > 140
    assert [one for one in ordeals if not {one["slug"], str(one["status"])} & set(one["expected"])] == []


def test_each_refusal_has_a_sentence(ordeals: list[dict[str, Any]]) -> None:
    assert [one for one in ordeals if one["status"] != 202 and (one["status"] >= 500 or len(one["detail"]) < 20)] == []


def test_none_takes_long(ordeals: list[dict[str, Any]]) -> None:
    assert [one for one in ordeals if one["seconds"] > MOST_SECONDS] == []


def test_none_takes_much_memory(ordeals: list[dict[str, Any]]) -> None:
    assert [one for one in ordeals if one["megabytes"] > MOST_MEGABYTES] == []
