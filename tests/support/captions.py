"""Captions made at random of few words, so that they have much in common."""

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
    """So many captions, a fifth of them equal to a reference, and the one to five references of each; in words."""
    draw = random.Random(seed)

    def caption() -> Words:
        return draw.choices(WORDS, k=draw.randint(1, 12))

    references = [[caption() for _ in range(draw.randint(1, 5))] for _ in range(count)]
    return [draw.choice(group) if draw.random() < 0.2 else caption() for group in references], references
