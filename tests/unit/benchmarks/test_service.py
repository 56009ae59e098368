"""The service benchmark's ratios compare measurements of the same round."""

from __future__ import annotations

import pytest

from benchmarks.clients import Load
from benchmarks.service import CELERY, ENGINE, FLASK, LITSERVE, OURS, OURS_FP32, ratios_of


def loads(*seconds: float) -> list[Load]:
    return [Load([latency], latency) for latency in seconds]


def test_a_slow_round_does_not_change_the_ratios() -> None:
    seconds = {OURS: 1.0, OURS_FP32: 2.0, ENGINE: 0.9, FLASK: 4.0, CELERY: 3.0, LITSERVE: 5.0}
    concurrent = {name: loads(base, 10 * base, base) for name, base in seconds.items()}
    single = {name: loads(base, 2.0, base) for name, base in seconds.items()}

    ratios = ratios_of(concurrent, single)

    assert ratios == pytest.approx(
        {
            "service_vs_engine": 0.9,
            "vs_seed": 4.0,
            "fp32_vs_seed": 2.0,
            "vs_celery_task": 3.0,
            "fp32_vs_celery_task": 1.5,
            "vs_litserve": 5.0,
            "fp32_vs_litserve": 2.5,
            "idle_overhead_ms": 100.0,
        }
    )
