"""Random captions from a small vocabulary, so that they share many n-grams."""

from __future__ import annotations

import random

WORDS = [
    "a",
    "man",
    "woman",
    "dog",
    "dogs",
    "cat",
    "runs",
    "running",
    "walks",
    "on",
    "the",
    "of",
    "grass",
    "street",
    "red",
    "big",
    "two",
    "people",
    "bike",
    "riding",
    "in",
]

Words = list[str]


def random_captions(count: int, seed: int = 0) -> tuple[list[Words], list[list[Words]]]:
    """`count` captions and one to five references of each, as lists of words; a fifth equal one of their references."""
    rng = random.Random(seed)

    def caption() -> Words:
        return rng.choices(WORDS, k=rng.randint(1, 12))

    references = [[caption() for _ in range(rng.randint(1, 5))] for _ in range(count)]
    return [rng.choice(group) if rng.random() < 0.2 else caption() for group in references], references
