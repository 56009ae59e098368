"""CIDEr-D (Vedantam et al. 2015), which coco-caption calls CIDEr."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from training.metrics.bleu import ORDERS, ngrams

#: Width, in words, of the Gaussian penalty for a length that differs from the reference's.
SIGMA = 6.0
#: Scores are multiplied by ten, as in coco-caption.
SCALE = 10.0

Vector = dict[tuple[str, ...], float]
Vectors = tuple[list[Vector], list[float], int]


def cider(hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> float:
    """Mean CIDEr-D. Document frequencies come from the given references, so scores of sets of different sizes are
    not comparable, and a single image scores 0.
    """
    scores = cider_each(hypotheses, references)
    return sum(scores) / len(scores) if scores else 0.0


def cider_each(hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> list[float]:
    """CIDEr-D of each caption."""
    metric = Cider(references)
    return [metric.scores(index, [hypothesis])[0] for index, hypothesis in enumerate(hypotheses)]


class Cider:
    """CIDEr-D against the references of a fixed set of images, which give the document frequencies."""

    def __init__(self, references: Sequence[Sequence[Sequence[str]]]) -> None:
        self._references = references
        self._frequency: Counter[tuple[str, ...]] = Counter()
        for group in references:
            self._frequency.update({gram for reference in group for gram in _counts(reference)})
        self._log_documents = math.log(len(references)) if references else 0.0

    def scores(self, image: int, hypotheses: Sequence[Sequence[str]]) -> list[float]:
        """CIDEr-D of several captions of one image, given its index in the set."""
        truths = [self._vectors(reference) for reference in self._references[image]]
        scores = []
        for hypothesis in hypotheses:
            candidate = self._vectors(hypothesis)
            scores.append(SCALE * sum(_similarity(candidate, truth) for truth in truths) / len(truths))
        return scores

    def _vectors(self, tokens: Sequence[str]) -> Vectors:
        """tf-idf vectors for n = 1..4, their norms, and the caption's length (in bigrams, as in coco-caption)."""
        vectors: list[Vector] = [{} for _ in range(ORDERS)]
        length = 0
        for gram, count in _counts(tokens).items():
            idf = self._log_documents - math.log(max(1, self._frequency.get(gram, 0)))
            vectors[len(gram) - 1][gram] = count * idf
            if len(gram) == 2:
                length += count
        norms = [math.sqrt(sum(value * value for value in vector.values())) for vector in vectors]
        return vectors, norms, length


def _counts(tokens: Sequence[str]) -> Counter[tuple[str, ...]]:
    counts: Counter[tuple[str, ...]] = Counter()
    for n in range(1, ORDERS + 1):
        counts |= ngrams(tokens, n)
    return counts


def _similarity(candidate: Vectors, truth: Vectors) -> float:
    """Mean over n of the clipped cosine, times the length penalty."""
    penalty = math.exp(-((candidate[2] - truth[2]) ** 2) / (2 * SIGMA**2))
    total = 0.0
    for n in range(ORDERS):
        reference = truth[0][n]
        dot = sum(
            min(value, reference[gram]) * reference[gram]
            for gram, value in candidate[0][n].items()
            if gram in reference
        )
        norm = candidate[1][n] * truth[1][n]
        total += dot / norm * penalty if norm else 0.0
    return total / ORDERS
