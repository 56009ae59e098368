"""Caption metrics of coco-caption that need no Java (BLEU-1..4, ROUGE-L, CIDEr-D), and NLTK's METEOR."""

from __future__ import annotations

from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

from training.metrics.bleu import bleu_measure
from training.metrics.cider import cider_each
from training.metrics.measure import Measure, mean
from training.metrics.meteor import meteor_each
from training.metrics.rouge import rouge_l_each
from training.metrics.tokens import tokenize

Id = TypeVar("Id", bound=Hashable)

#: Name of the tokenizer. Results include it, as scores with different tokenizers are not comparable.
TOKENIZER = "ptb-like"


def conditions(images: int, data: Sequence[object], beams: int, max_length: int, tokenizer: str = TOKENIZER) -> str:
    """The evaluation conditions, which results include: data, search and tokenizer."""
    return (
        f"{images} images of {' '.join(map(str, data))}, beams {beams}, longest caption {max_length} tokens, "
        f"tokenizer {tokenizer}"
    )


def score(candidates: Mapping[Id, str], references: Mapping[Id, Sequence[str]]) -> dict[str, float | None]:
    """Corpus scores of one caption per image against its references.

    `bleu_1`..`bleu_4`, `rouge_l` and `cider` (CIDEr-D) as in coco-caption; `meteor_nltk` is None if NLTK's
    WordNet is not installed. Raises `KeyError` for an image without references.
    """
    hypotheses = [tokenize(candidate) for candidate in candidates.values()]
    truths = [[tokenize(reference) for reference in references[image]] for image in candidates]
    scores: dict[str, float | None] = {"meteor_nltk": None}
    for measure in measures(hypotheses, truths):
        scores |= measure.total()
    return scores


def measures(hypotheses: Sequence[Sequence[str]], truths: Sequence[Sequence[Sequence[str]]]) -> list[Measure]:
    """All metrics that need no Java, of tokenized captions.

    CIDEr's document frequencies are those of all given references, in every resample too.
    """
    meteors = meteor_each(hypotheses, truths)
    return [
        bleu_measure(hypotheses, truths),
        mean("rouge_l", rouge_l_each(hypotheses, truths)),
        mean("cider", cider_each(hypotheses, truths)),
        *([mean("meteor_nltk", meteors)] if meteors is not None else []),
    ]
