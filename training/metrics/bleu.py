"""Corpus BLEU as coco-caption computes it (Papineni et al. 2002), closest reference length."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

ORDERS = 4
#: coco-caption's epsilons: they stand for a count of zero, so that a missing 4-gram gives a tiny score, not 0.
TINY = 1e-15
SMALL = 1e-9


def ngrams(tokens: Sequence[str], n: int) -> Counter[tuple[str, ...]]:
    """How often each run of `n` tokens occurs."""
    return Counter(tuple(tokens[i : i + n]) for i in range(len(tokens) - n + 1))


def bleu(hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> list[float]:
    """BLEU-1..4 of the whole corpus."""
    guesses, correct = [0] * ORDERS, [0] * ORDERS
    test_length = reference_length = 0
    for hypothesis, truths in zip(hypotheses, references, strict=True):
        test_length += len(hypothesis)
        reference_length += min((abs(len(truth) - len(hypothesis)), len(truth)) for truth in truths)[1]
        for n in range(1, ORDERS + 1):
            counts = ngrams(hypothesis, n)
            most: Counter[tuple[str, ...]] = Counter()
            for truth in truths:
                most |= ngrams(truth, n)
            guesses[n - 1] += max(0, len(hypothesis) - n + 1)
            correct[n - 1] += sum(min(count, most[gram]) for gram, count in counts.items())
    ratio = (test_length + TINY) / (reference_length + SMALL)
    brevity = math.exp(1 - 1 / ratio) if ratio < 1 else 1.0
    scores, product = [], 1.0
    for n in range(ORDERS):
        product *= (correct[n] + TINY) / (guesses[n] + SMALL)
        scores.append(product ** (1 / (n + 1)) * brevity)
    return scores
