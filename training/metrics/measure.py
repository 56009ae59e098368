"""Metrics as functions of sums over images, so that resamples are scored by one matrix product."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Measure:
    """`parts` [images, k] are each image's terms; `of_sums` maps sums [rows, k] to scores [rows, len(names)]."""

    names: tuple[str, ...]
    parts: Array
    of_sums: Callable[[Array], Array]

    def total(self) -> dict[str, float]:
        """The scores on all images."""
        return dict(zip(self.names, self.of_sums(self.parts.sum(0, keepdims=True))[0].tolist(), strict=True))

    def resampled(self, weights: Array) -> dict[str, Array]:
        """The scores on each resample. `weights` [resamples, images] are the numbers of times each image is drawn."""
        return dict(zip(self.names, self.of_sums(weights @ self.parts).T, strict=True))


def mean(name: str, scores: Sequence[float] | Array) -> Measure:
    """A metric that is the mean of per-image scores; 0 without images."""
    parts = np.array([(value, 1.0) for value in scores], dtype=np.float64).reshape(-1, 2)
    return Measure((name,), parts, lambda sums: sums[:, :1] / np.maximum(sums[:, 1:], 1.0))
