"""METEOR as NLTK computes it: the 2007 paper's, not METEOR 1.5, hence reported as `meteor_nltk`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache

from nltk.corpus import wordnet
from nltk.translate.meteor_score import meteor_score

log = logging.getLogger(__name__)


def meteor(hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> float | None:
    """Mean over the captions of the best score over the references; None without WordNet."""
    if not wordnet_installed():
        return None
    scores = [meteor_score(group, hypothesis) for group, hypothesis in zip(references, hypotheses, strict=True)]
    return sum(scores) / len(scores) if scores else 0.0


@cache
def wordnet_installed() -> bool:
    """Whether NLTK finds WordNet; says once what to do when it does not."""
    try:
        wordnet.ensure_loaded()
    except LookupError:
        log.warning("METEOR is left out: NLTK's WordNet is not installed. Run script/wordnet once.")
        return False
    return True
