"""The caption metrics of coco-caption, without Java: BLEU-1..4, ROUGE-L, CIDEr-D; and NLTK's METEOR."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

from training.metrics.bleu import bleu
from training.metrics.cider import cider
from training.metrics.meteor import meteor
from training.metrics.rouge import rouge_l
from training.metrics.tokens import tokenize

Id = TypeVar("Id", bound=Hashable)

#: Named in every result, as scores by another tokenizer cannot be compared.
TOKENIZER = "ptb-like"


def score(candidates: Mapping[Id, str], references: Mapping[Id, Sequence[str]]) -> dict[str, float | None]:
    """Corpus scores of one caption for each picture against its references.

    `bleu_1`..`bleu_4`, `rouge_l` and `cider` (CIDEr-D) as coco-caption computes them; `meteor_nltk` is None when
    NLTK's WordNet is not installed. Raises `KeyError` for a picture without references.
    """
    hypotheses = [tokenize(candidate) for candidate in candidates.values()]
    truths = [[tokenize(reference) for reference in references[picture]] for picture in candidates]
    return {
        **{f"bleu_{n}": value for n, value in enumerate(bleu(hypotheses, truths), start=1)},
        "rouge_l": rouge_l(hypotheses, truths),
        "meteor_nltk": meteor(hypotheses, truths),
        "cider": cider(hypotheses, truths),
    }
