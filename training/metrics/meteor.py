"""METEOR as NLTK computes it: the 2007 paper's, not METEOR 1.5, hence reported as `meteor_nltk`; coco-caption's
is in `java`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from functools import cache

from nltk.corpus import wordnet
from nltk.translate.meteor_score import meteor_score

log = logging.getLogger(__name__)


def meteor_each(
    hypotheses: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> list[float] | None:
    """The best score over the references of each caption; None without WordNet."""
    if not wordnet_installed():
        return None
    return [meteor_score(group, hypothesis) for group, hypothesis in zip(references, hypotheses, strict=True)]


@cache
def wordnet_installed() -> bool:
    """Whether NLTK finds WordNet; says once what to do when it does not."""
    try:
        wordnet.ensure_loaded()
    except LookupError:
        log.warning("METEOR is left out: NLTK's WordNet is not installed. Run script/wordnet once.")
        return False
    return True
