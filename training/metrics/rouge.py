"""ROUGE-L as coco-caption computes it (Lin 2004): the best precision and the best recall over the references."""

from __future__ import annotations

from collections.abc import Sequence

from rouge_score.rouge_scorer import RougeScorer

#: How much more recall weighs than precision.
BETA = 1.2


class _Words:
    """Hands `rouge_score` the words that were cut already."""

    def tokenize(self, text: str) -> list[str]:
        return text.split(" ") if text else []


_scorer = RougeScorer(["rougeL"], tokenizer=_Words())


def rouge_l_each(hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> list[float]:
    """ROUGE-L of each caption; their mean is the corpus's."""
    return [_one(hypothesis, group) for hypothesis, group in zip(hypotheses, references, strict=True)]


def _one(hypothesis: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    found = [_scorer.score(" ".join(truth), " ".join(hypothesis))["rougeL"] for truth in references]
    precision = max(score.precision for score in found)
    recall = max(score.recall for score in found)
    if not precision or not recall:
        return 0.0
    return float((1 + BETA**2) * precision * recall / (recall + BETA**2 * precision))
