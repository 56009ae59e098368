"""Contenders side by side: one run of each in turn, again and again, so that what disturbs one disturbs all."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Times:
    """Seconds of each repeat of each contender, by name; repeats of one index were taken together."""

    seconds: Mapping[str, list[float]]

    def median(self, name: str) -> float:
        return statistics.median(self.seconds[name])

    def spread(self, name: str) -> tuple[float, float]:
        """Shortest and longest."""
        return min(self.seconds[name]), max(self.seconds[name])

    def ratio(self, name: str, to: str) -> float:
        """How many times as fast `name` is as `to`: the median of the ratios of repeats taken together."""
        pairs = zip(self.seconds[to], self.seconds[name], strict=True)
        return statistics.median(slow / fast for slow, fast in pairs)


def interleaved(
    contenders: Mapping[str, Callable[[], object]], repeats: int, clock: Callable[[], float] = time.perf_counter
) -> Times:
    """Time every contender `repeats` times, in turn, after one run of each that does not count."""
    for run in contenders.values():
        run()
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for _ in range(repeats):
        for name, run in contenders.items():
            started = clock()
            run()
            seconds[name].append(clock() - started)
    return Times(seconds)
