"""CIDEr-D (Vedantam et al. 2015), what coco-caption calls CIDEr."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

from training.metrics.bleu import ORDERS, ngrams

#: Width, in words, of the Gaussian that punishes a length other than the reference's.
SIGMA = 6.0
#: coco-caption scales by ten.
SCALE = 10.0

Vector = dict[tuple[str, ...], float]
Vectors = tuple[list[Vector], list[float], int]


def cider(hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> float:
    """Mean CIDEr-D. Document frequencies are those of the references given, so scores of sets of different
    size cannot be compared, and a single image scores 0.
    """
    scores = cider_each(hypotheses, references)
    return sum(scores) / len(scores) if scores else 0.0


def cider_each(hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> list[float]:
    """CIDEr-D of each caption."""
    metric = Cider(references)
    return [metric.scores(number, [hypothesis])[0] for number, hypothesis in enumerate(hypotheses)]


class Cider:
    """CIDEr-D against the references of a fixed set of images, from which the document frequencies are taken."""

    def __init__(self, references: Sequence[Sequence[Sequence[str]]]) -> None:
        self._references = references
        self._frequency: Counter[tuple[str, ...]] = Counter()
        for group in references:
            self._frequency.update({gram for reference in group for gram in _counts(reference)})
        self._log_documents = math.log(len(references)) if references else 0.0

    def scores(self, image: int, hypotheses: Sequence[Sequence[str]]) -> list[float]:
        """CIDEr-D of some captions of one image, by its number in the set."""
        truths = [self._vectors(reference) for reference in self._references[image]]
        found = []
        for hypothesis in hypotheses:
            guess = self._vectors(hypothesis)
            found.append(SCALE * sum(_similarity(guess, truth) for truth in truths) / len(truths))
        return found

    def _vectors(self, tokens: Sequence[str]) -> Vectors:
        """tf-idf vectors for n = 1..4, their lengths, and the caption's length (in bigrams, as coco-caption counts)."""
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


def _similarity(guess: Vectors, truth: Vectors) -> float:
    """Mean over n of the clipped cosine, times the length penalty."""
    penalty = math.exp(-((guess[2] - truth[2]) ** 2) / (2 * SIGMA**2))
    total = 0.0
    for n in range(ORDERS):
        theirs = truth[0][n]
        dot = sum(min(value, theirs[gram]) * theirs[gram] for gram, value in guess[0][n].items() if gram in theirs)
        norm = guess[1][n] * truth[1][n]
        total += dot / norm * penalty if norm else 0.0
    return total / ORDERS
