"""Corpus BLEU as coco-caption computes it (Papineni et al. 2002), closest reference length."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from training.metrics.measure import Array, Measure

ORDERS = 4
#: coco-caption's epsilons: they stand for a count of zero, so that a missing 4-gram gives a tiny score, not 0.
TINY = 1e-15
SMALL = 1e-9


def ngrams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """How often each run of `n` tokens occurs."""
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def bleu(hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> list[float]:
    """BLEU-1..4 of the whole corpus."""
    return list(bleu_measure(hypotheses, references).total().values())


def bleu_measure(hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> Measure:
    """`bleu_1`..`bleu_4`, from each image's lengths, n-grams and those of them that are right."""
    rows = [_counts(hypothesis, truths) for hypothesis, truths in zip(hypotheses, references, strict=True)]
    names = tuple(f"bleu_{n}" for n in range(1, ORDERS + 1))
    return Measure(names, np.array(rows, dtype=np.float64).reshape(-1, 2 + 2 * ORDERS), _of_sums)


def _counts(hypothesis: Sequence[str], truths: Sequence[Sequence[str]]) -> list[int]:
    """Length, closest reference length, n-grams for n = 1..4, right n-grams for n = 1..4."""
    closest = min((abs(len(truth) - len(hypothesis)), len(truth)) for truth in truths)[1]
    guesses, correct = [], []
    for n in range(1, ORDERS + 1):
        counts = ngrams(hypothesis, n)
        most: Counter[tuple[str, ...]] = Counter()
        for truth in truths:
            most |= ngrams(truth, n)
        guesses.append(max(0, len(hypothesis) - n + 1))
        correct.append(sum(min(count, most[gram]) for gram, count in counts.items()))
    return [len(hypothesis), closest, *guesses, *correct]


def _of_sums(sums: Array) -> Array:
    """BLEU-1..4 [rows, 4] of summed counts [rows, 10]."""
    ratio = (sums[:, :1] + TINY) / (sums[:, 1:2] + SMALL)
    brevity = np.exp(np.minimum(0.0, 1 - 1 / ratio))
    precisions = (sums[:, 2 + ORDERS :] + TINY) / (sums[:, 2 : 2 + ORDERS] + SMALL)
    scores: Array = np.cumprod(precisions, axis=1) ** (1 / np.arange(1, ORDERS + 1)) * brevity
    return scores
