"""A metric as sums over images, so that any resample of the images is scored as quickly as the whole."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Measure:
    """`parts` [images, k] is what each image adds; `of_sums` makes [rows, len(names)] scores of [rows, k] sums."""

    names: tuple[str, ...]
    parts: Array
    of_sums: Callable[[Array], Array]

    def total(self) -> dict[str, float]:
        """The scores of all images."""
        return dict(zip(self.names, self.of_sums(self.parts.sum(0, keepdims=True))[0].tolist(), strict=True))

    def resampled(self, weights: Array) -> dict[str, Array]:
        """The scores of each resample; `weights` [resamples, images] says how often each has an image."""
        return dict(zip(self.names, self.of_sums(weights @ self.parts).T, strict=True))


def mean(name: str, scores: Sequence[float] | Array) -> Measure:
    """A metric that is the mean of the images' scores; 0 without images."""
    parts = np.array([(value, 1.0) for value in scores], dtype=np.float64).reshape(-1, 2)
    return Measure((name,), parts, lambda sums: sums[:, :1] / np.maximum(sums[:, 1:], 1.0))
