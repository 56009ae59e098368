"""The service's ratios compare what was measured in the same round."""

from __future__ import annotations

import pytest

from benchmarks.clients import Load
from benchmarks.service import CELERY, ENGINE, LITSERVE, OURS, OURS_FP32, SEED, ratios_of


def loads(*seconds: float) -> list[Load]:
    return [Load([each], each) for each in seconds]


def test_a_machine_that_is_slow_for_a_round_is_slow_for_all() -> None:
    seconds = {OURS: 1.0, OURS_FP32: 2.0, ENGINE: 0.9, SEED: 4.0, CELERY: 3.0, LITSERVE: 5.0}
    crowd = {name: loads(each, 10 * each, each) for name, each in seconds.items()}
    alone = {name: loads(each, 2.0, each) for name, each in seconds.items()}

    ratios = ratios_of(crowd, alone)

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
