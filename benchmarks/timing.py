"""Interleaved timing: one run of each contender in turn, repeated, so that disturbances affect all of them alike."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Times:
    """Seconds of each repeat, by contender; repeats with the same index were measured in the same round."""

    seconds: Mapping[str, list[float]]

    def median(self, name: str) -> float:
        return statistics.median(self.seconds[name])

    def spread(self, name: str) -> tuple[float, float]:
        """Shortest and longest repeat, in seconds."""
        return min(self.seconds[name]), max(self.seconds[name])

    def ratio(self, name: str, to: str) -> float:
        """Speed of `name` divided by that of `to`: the median of the ratios within each round."""
        pairs = zip(self.seconds[to], self.seconds[name], strict=True)
        return statistics.median(reference / measured for reference, measured in pairs)


def interleaved(
    contenders: Mapping[str, Callable[[], object]], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> Times:
    """Time every contender `repeats` times, in turn, after one warm-up run of each."""
    for run in contenders.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, run in contenders.items():
            started = clock()
            run()
            seconds[name].append(clock() - started)
    return Times(seconds)
