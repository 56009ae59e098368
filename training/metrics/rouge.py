"""ROUGE-L as in coco-caption (Lin 2004): best precision and best recall over the references."""

from __future__ import annotations

from collections.abc import Sequence

from rouge_score.rouge_scorer import RougeScorer

#: Weight of recall relative to precision.
BETA = 1.2


class _SplitTokenizer:
    """Tokenizer for `rouge_score` that splits at spaces, as the captions are tokenized already."""

    def tokenize(self, text: str) -> list[str]:
        return text.split(" ") if text else []


_scorer = RougeScorer(["rougeL"], tokenizer=_SplitTokenizer())


def rouge_l_each(hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> list[float]:
    """ROUGE-L of each caption. Their mean is the corpus score."""
    return [_score(hypothesis, group) for hypothesis, group in zip(hypotheses, references, strict=True)]


def _score(hypothesis: Sequence[str], references: Sequence[Sequence[str]]) -> float:
    scores = [_scorer.score(" ".join(truth), " ".join(hypothesis))["rougeL"] for truth in references]
    precision = max(score.precision for score in scores)
    recall = max(score.recall for score in scores)
    if not precision or not recall:
        return 0.0
    return float((1 + BETA**2) * precision * recall / (recall + BETA**2 * precision))
