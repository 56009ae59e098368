"""Fits the confidence in captions: how likely a caption with a given score is right.

A caption counts as right if its CIDEr-D is above chance: above that which only one in twenty captions of other images
reaches on the same references. The curve is logistic in the score (Platt 1999). Isotonic regression, which assumes
only that it rises, fits held-out captions of the demo less well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from captioning.engine import Caption
from captioning.student.calibration import Calibration
from common import strict_json
from common.files import atomic_write
from training.data.images import CaptionedImage, DataError
from training.metrics.bootstrap import Estimate, interval
from training.metrics.cider import Cider
from training.metrics.measure import Array
from training.metrics.tokens import tokenize

#: Share of other images' captions whose CIDEr-D is above chance, and number of them tried on each image.
CHANCE = 0.05
OTHERS = 20
#: Smallest number of images, and of right and of wrong captions among them. With fewer, the curve is arbitrary.
MIN_IMAGES, MIN_EACH = 100, 30
#: Parts of the cross-validation, and groups of captions with similar confidence in which it is compared with reality.
FOLDS, GROUPS = 10, 10
RESAMPLES = 1000
#: Seed of the other images' captions, the folds and the bootstrap.
SEED = 0
#: Limits on the confidence for which the report gives the flagged captions.
THRESHOLDS = (0.2, 0.3, 0.4, 0.5, 0.6, 0.7)
#: Steps of Newton's method, and the change of the parameters at which it has converged. It takes about six.
NEWTON_STEPS, CONVERGED = 100, 1e-9

Flags = NDArray[np.bool_]


@dataclass(frozen=True)
class Fit:
    """A fitted curve and how well it does.

    `right` is the share of captions that are right, and `chance` the CIDEr-D above which they are. `auroc` is the
    probability that a right caption has a higher score than a wrong one. `error` is the expected calibration error:
    the mean difference between confidence and share of right captions in `GROUPS` groups of equal size. It and
    `confidences` [images] are cross-validated: each confidence is from a curve fitted without that image.
    """

    slope: float
    intercept: float
    right: Flags
    chance: float
    auroc: Estimate
    error: float
    confidences: Array


def fit(captions: Sequence[Caption], images: Sequence[CaptionedImage]) -> Fit:
    """Fit the confidence to the captions of images with references, in the same order.

    Raises `DataError` for too few images, or if the captions of higher scores are not better.
    """
    if len(images) < MIN_IMAGES:
        raise DataError(f"A calibration needs {MIN_IMAGES} images or more; these are {len(images)}.")
    scores = np.array([caption.score for caption in captions])
    ciders, chance = cider_and_chance(captions, images)
    right = ciders > chance
    if min(right.sum(), (~right).sum()) < MIN_EACH:
        raise DataError(f"{right.sum()} of {len(right)} captions are right: too few, or too many, for a calibration.")
    slope, intercept = logistic(scores, right)
    if slope <= 0:
        raise DataError("Captions with higher scores are not better, so no calibration is written.")
    confidences = cross_validated(scores, right)
    return Fit(
        slope=slope,
        intercept=intercept,
        right=right,
        chance=chance,
        auroc=_auroc_estimate(scores, right),
        error=calibration_error(confidences, right),
        confidences=confidences,
    )


def cider_and_chance(captions: Sequence[Caption], images: Sequence[CaptionedImage]) -> tuple[Array, float]:
    """CIDEr-D of each caption, and the CIDEr-D that only `CHANCE` of other images' captions exceed."""
    metric = Cider([[tokenize(reference) for reference in image.captions] for image in images])
    words = [tokenize(caption.text) for caption in captions]
    rng = np.random.default_rng(SEED)
    own, others = [], []
    for number, caption in enumerate(words):
        shifts = rng.integers(1, len(words), OTHERS)  # from 1, so that no image gets its own caption
        drawn = [words[(number + shift) % len(words)] for shift in shifts]
        first, *rest = metric.scores(number, [caption, *drawn])
        own.append(first)
        others += rest
    return np.array(own), float(np.quantile(others, 1 - CHANCE))


def logistic(scores: Array, right: Flags) -> tuple[float, float]:
    """Slope and intercept of the logistic curve with the highest likelihood, by Newton's method.

    The targets are Platt's, slightly inside of 0 and 1, so that the slope stays finite where a score separates all.
    """
    targets = np.where(right, (right.sum() + 1) / (right.sum() + 2), 1 / ((~right).sum() + 2))
    center, width = scores.mean(), scores.std() or 1.0
    inputs = np.stack([(scores - center) / width, np.ones(len(scores))], axis=1)
    parameters = np.zeros(2)
    for _ in range(NEWTON_STEPS):
        values = 1 / (1 + np.exp(-inputs @ parameters))
        hessian = (inputs * (values * (1 - values))[:, None]).T @ inputs
        step = np.linalg.lstsq(hessian, inputs.T @ (targets - values))[0]
        parameters += step
        if np.abs(step).max() < CONVERGED:
            break
    slope = parameters[0] / width
    return float(slope), float(parameters[1] - slope * center)


def cross_validated(scores: Array, right: Flags) -> Array:
    """The confidence in each caption, by a curve fitted to the other `FOLDS` - 1 parts of the captions."""
    parts = np.random.default_rng(SEED).permutation(len(scores)) % FOLDS
    confidences = np.empty(len(scores))
    for part in range(FOLDS):
        slope, intercept = logistic(scores[parts != part], right[parts != part])
        confidences[parts == part] = 1 / (1 + np.exp(-slope * scores[parts == part] - intercept))
    return confidences


def auroc(scores: Array, right: Flags) -> float:
    """The probability that a right caption has a higher score than a wrong one; equal scores count half."""
    wrong = np.sort(scores[~right])
    below = np.searchsorted(wrong, scores[right], "left") + np.searchsorted(wrong, scores[right], "right")
    return float(below.mean() / (2 * len(wrong)))


def calibration_error(confidences: Array, right: Flags) -> float:
    """The mean difference between confidence and share of right captions, in `GROUPS` groups of equal size."""
    groups = np.array_split(np.argsort(confidences), GROUPS)
    differences = [abs(confidences[group].mean() - right[group].mean()) for group in groups]
    return float(np.average(differences, weights=[len(group) for group in groups]))


def write(path: Path, fitted: Fit, model: str, length_penalty: float, conditions: dict[str, Any]) -> None:
    """Write the calibration of the model of that version, with the figures and the `conditions` of the fit."""
    calibration = Calibration(
        model=model,
        length_penalty=length_penalty,
        slope=round(fitted.slope, 4),
        intercept=round(fitted.intercept, 4),
    )
    figures = {
        "right": round(float(fitted.right.mean()), 4),
        "chance_cider": round(fitted.chance, 4),
        "auroc": [round(value, 4) for value in (fitted.auroc.value, fitted.auroc.low, fitted.auroc.high)],
        "calibration_error": round(fitted.error, 4),
    }
    content = {**calibration.model_dump(), "fitted_on": conditions, "figures": figures}
    with atomic_write(path) as file:
        file.write(strict_json.dumps(content, indent=2).encode() + b"\n")


def report(fitted: Fit) -> str:
    """The figures of a fit, and for several limits the share of captions below it and how many of those are wrong."""
    wrong = ~fitted.right
    lines = [
        f"{len(wrong)} captions, of which {fitted.right.mean():.1%} are right: CIDEr-D above {fitted.chance:.3f}. "
        f"AUROC of the score {fitted.auroc.value:.3f} ({fitted.auroc.low:.3f} … {fitted.auroc.high:.3f}). "
        f"Expected calibration error {fitted.error:.3f}, {FOLDS}-fold cross-validated.",
        "",
        "| unsure below | flagged | of these wrong | of the others wrong |",
        "| ---: | ---: | ---: | ---: |",
    ]
    for limit in THRESHOLDS:
        flagged = fitted.confidences < limit
        cells = (f"{_share(part):.0%}" for part in (flagged, wrong[flagged], wrong[~flagged]))
        lines.append(f"| {limit} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _share(flags: Flags) -> float:
    return float(flags.mean()) if len(flags) else 0.0


def _auroc_estimate(scores: Array, right: Flags) -> Estimate:
    """AUROC with the interval of resamples of the images."""
    resamples = np.random.default_rng(SEED).integers(0, len(scores), (RESAMPLES, len(scores)))
    draws = np.array([auroc(scores[drawn], right[drawn]) for drawn in resamples])
    return Estimate(auroc(scores, right), *interval(draws))
