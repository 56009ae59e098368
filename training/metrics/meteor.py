"""NLTK's METEOR, reported as `meteor_nltk`. It is the version of the 2007 paper; METEOR 1.5 is in `java`."""

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
    """Each caption's best score over its references; None if WordNet is not installed."""
    if not wordnet_installed():
        return None
    return [meteor_score(group, hypothesis) for group, hypothesis in zip(references, hypotheses, strict=True)]


@cache
def wordnet_installed() -> bool:
    """Whether NLTK finds WordNet. Otherwise one warning says how to install it."""
    try:
        wordnet.ensure_loaded()
    except LookupError:
        log.warning("METEOR is left out: NLTK's WordNet is not installed. Run script/wordnet once.")
        return False
    return True
