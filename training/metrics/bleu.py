"""Corpus BLEU as in coco-caption (Papineni et al. 2002), with the closest reference length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from training.metrics.measure import Array, Measure

ORDERS = 4
#: Epsilons of coco-caption for counts of zero, so that a missing 4-gram gives a tiny score and not 0.
EPSILON_NUMERATOR = 1e-15
EPSILON_DENOMINATOR = 1e-9


def ngrams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """Counts of the n-grams."""
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def bleu(hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> list[float]:
    """BLEU-1..4 of the corpus."""
    return list(bleu_measure(hypotheses, references).total().values())


def bleu_measure(hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> Measure:
    """`bleu_1`..`bleu_4`, from each image's lengths, n-gram counts and counts of matching n-grams."""
    rows = [_counts(hypothesis, truths) for hypothesis, truths in zip(hypotheses, references, strict=True)]
    names = tuple(f"bleu_{n}" for n in range(1, ORDERS + 1))
    return Measure(names, np.array(rows, dtype=np.float64).reshape(-1, 2 + 2 * ORDERS), _of_sums)


def _counts(hypothesis: Sequence[str], truths: Sequence[Sequence[str]]) -> list[int]:
    """Length, closest reference length, numbers of n-grams for n = 1..4, numbers of matching n-grams for n = 1..4."""
    closest = min((abs(len(truth) - len(hypothesis)), len(truth)) for truth in truths)[1]
    totals, matches = [], []
    for n in range(1, ORDERS + 1):
        counts = ngrams(hypothesis, n)
        max_counts: Counter[tuple[str, ...]] = Counter()
        for truth in truths:
            max_counts |= ngrams(truth, n)
        totals.append(max(0, len(hypothesis) - n + 1))
        matches.append(sum(min(count, max_counts[gram]) for gram, count in counts.items()))
    return [len(hypothesis), closest, *totals, *matches]


def _of_sums(sums: Array) -> Array:
    """BLEU-1..4 [rows, 4] from summed counts [rows, 10]."""
    ratio = (sums[:, :1] + EPSILON_NUMERATOR) / (sums[:, 1:2] + EPSILON_DENOMINATOR)
    brevity = np.exp(np.minimum(0.0, 1 - 1 / ratio))
    precisions = (sums[:, 2 + ORDERS :] + EPSILON_NUMERATOR) / (sums[:, 2 : 2 + ORDERS] + EPSILON_DENOMINATOR)
    scores: Array = np.cumprod(precisions, axis=1) ** (1 / np.arange(1, ORDERS + 1)) * brevity
    return scores
