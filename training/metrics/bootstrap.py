"""How far scores would move with other images of the same kind: the bootstrap (Efron 1979; for BLEU, Koehn 2004).

The images are drawn anew with replacement, for all models alike, so that the difference of two models is told from
the luck of the draw that they share. An image's CIDEr keeps the document frequencies of the full set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.metrics.measure import Array, Measure

#: The middle part of the resamples that an interval spans.
CONFIDENCE = 0.95
#: Resamples weighed at once: their weights on 5,000 images are 4 MB.
CHUNK = 100


@dataclass(frozen=True)
class Estimate:
    """A score, or a difference of scores, and the interval around it."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Resampled:
    """A model's scores on all images, and each metric's scores [resamples] on the drawn ones."""

    totals: dict[str, float]
    draws: dict[str, Array]

    def estimate(self, name: str) -> Estimate:
        return Estimate(self.totals[name], *_interval(self.draws[name]))

    def minus(self, other: Resampled, name: str) -> Estimate:
        """How much better than `other`, resample by resample."""
        return Estimate(self.totals[name] - other.totals[name], *_interval(self.draws[name] - other.draws[name]))


def resample(measures: Sequence[Measure], resamples: int, seed: int) -> Resampled:
    """Score `resamples` draws of the images; the same number of images and seed give the same draws."""
    totals = {name: value for measure in measures for name, value in measure.total().items()}
    images = len(measures[0].parts)
    draw = np.random.default_rng(seed)
    chunks: dict[str, list[Array]] = {name: [] for name in totals}
    for first in range(0, resamples, CHUNK):
        drawn = min(CHUNK, resamples - first)
        weights = draw.multinomial(images, np.full(images, 1 / images), size=drawn).astype(np.float64)
        for measure in measures:
            for name, scores in measure.resampled(weights).items():
                chunks[name].append(scores)
    return Resampled(totals, {name: np.concatenate(parts) for name, parts in chunks.items()})


def _interval(scores: Array) -> tuple[float, float]:
    low, high = np.quantile(scores, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
