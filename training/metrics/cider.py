"""CIDEr-D (Vedantam et al. 2015), what coco-caption calls CIDEr."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence

from training.metrics.bleu import ORDERS, ngrams

#: Width, in words, of the Gaussian that punishes a length other than the reference's.
SIGMA = 6.0
#: coco-caption scales by ten.
SCALE = 10.0

Vector = dict[tuple[str, ...], float]


def cider(hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> float:
    """Mean CIDEr-D. Document frequencies are those of the references given, so scores of sets of different
    size cannot be compared, and a single picture scores 0.
    """
    scores = cider_each(hypotheses, references)
    return sum(scores) / len(scores) if scores else 0.0


def cider_each(hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> list[float]:
    """CIDEr-D of each caption."""
    truths = [[_counts(truth) for truth in group] for group in references]
    frequency: Counter[tuple[str, ...]] = Counter()
    for group in truths:
        frequency.update({gram for counts in group for gram in counts})
    log_documents = math.log(len(references)) if references else 0.0
    scores = []
    for hypothesis, group in zip(hypotheses, truths, strict=True):
        guess = _vectors(_counts(hypothesis), frequency, log_documents)
        similar = [_similarity(guess, _vectors(truth, frequency, log_documents)) for truth in group]
        scores.append(SCALE * sum(similar) / len(similar))
    return scores


def _counts(tokens: Sequence[str]) -> Counter[tuple[str, ...]]:
    counts: Counter[tuple[str, ...]] = Counter()
    for n in range(1, ORDERS + 1):
        counts |= ngrams(tokens, n)
    return counts


def _vectors(
    counts: Mapping[tuple[str, ...], int], frequency: Mapping[tuple[str, ...], int], log_documents: float
) -> tuple[list[Vector], list[float], int]:
    """tf-idf vectors for n = 1..4, their lengths, and the caption's length (counted in bigrams, as coco-caption)."""
    vectors: list[Vector] = [{} for _ in range(ORDERS)]
    length = 0
    for gram, count in counts.items():
        idf = log_documents - math.log(max(1, frequency.get(gram, 0)))
        vectors[len(gram) - 1][gram] = count * idf
        if len(gram) == 2:
            length += count
    norms = [math.sqrt(sum(value * value for value in vector.values())) for vector in vectors]
    return vectors, norms, length


def _similarity(guess: tuple[list[Vector], list[float], int], truth: tuple[list[Vector], list[float], int]) -> float:
    """Mean over n of the clipped cosine, times the length penalty."""
    penalty = math.exp(-((guess[2] - truth[2]) ** 2) / (2 * SIGMA**2))
    total = 0.0
    for n in range(ORDERS):
        theirs = truth[0][n]
        dot = sum(min(value, theirs[gram]) * theirs[gram] for gram, value in guess[0][n].items() if gram in theirs)
        norm = guess[1][n] * truth[1][n]
        total += dot / norm * penalty if norm else 0.0
    return total / ORDERS
