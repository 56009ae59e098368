"""Confidence intervals of scores by the bootstrap (Efron 1979; for BLEU, Koehn 2004).

Images are resampled with replacement, with the same resamples for all models, so that differences of two models are
paired. An image's CIDEr keeps the document frequencies of the full set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from training.metrics.measure import Array, Measure

#: Confidence level: an interval spans this central part of the resamples.
CONFIDENCE = 0.95
#: Number of resamples per matrix product. Their weights for 5,000 images take 4 MB.
CHUNK_SIZE = 100


@dataclass(frozen=True)
class Estimate:
    """A score or a difference of scores, with its confidence interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Resampled:
    """A model's scores on all images (`totals`), and on each resample (`draws`, [resamples] per metric)."""

    totals: dict[str, float]
    draws: dict[str, Array]

    def estimate(self, name: str) -> Estimate:
        return Estimate(self.totals[name], *interval(self.draws[name]))

    def minus(self, other: Resampled, name: str) -> Estimate:
        """The paired difference to `other`."""
        return Estimate(self.totals[name] - other.totals[name], *interval(self.draws[name] - other.draws[name]))


def resample(measures: Sequence[Measure], resamples: int, seed: int) -> Resampled:
    """Score all images and `resamples` resamples. They depend only on the number of images and `seed`."""
    totals = {name: value for measure in measures for name, value in measure.total().items()}
    images = len(measures[0].parts)
    rng = np.random.default_rng(seed)
    chunks: dict[str, list[Array]] = {name: [] for name in totals}
    for first in range(0, resamples, CHUNK_SIZE):
        count = min(CHUNK_SIZE, resamples - first)
        weights = rng.multinomial(images, np.full(images, 1 / images), size=count).astype(np.float64)
        for measure in measures:
            for name, scores in measure.resampled(weights).items():
                chunks[name].append(scores)
    return Resampled(totals, {name: np.concatenate(parts) for name, parts in chunks.items()})


def interval(scores: Array) -> tuple[float, float]:
    """Limits of the confidence interval of resampled scores."""
    low, high = np.quantile(scores, [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    return float(low), float(high)
