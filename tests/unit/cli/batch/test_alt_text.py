"""Alternative text is one sentence of a length that screen readers speak at once."""

from __future__ import annotations

import pytest

from cli.batch.alt_text import MAX_LENGTH, alt_text


@pytest.mark.parametrize(
    ("caption", "sentence"),
    [
        ("a dog running on grass", "A dog running on grass."),
        ("a dog.", "A dog."),
        ("is this a dog?", "Is this a dog?"),
        ("  a  dog\non grass ", "A dog on grass."),
        ("a photo of a dog", "A dog."),
        ("The picture of Dorian Gray", "Dorian Gray."),
        ("a black and white photo of a dog", "A black and white photo of a dog."),
        ("a picture of", "A picture of."),
        ("éclairs on a plate", "Éclairs on a plate."),
        ("", ""),
    ],
)
def test_a_caption_becomes_a_sentence_without_what_screen_readers_announce(caption: str, sentence: str) -> None:
    assert alt_text(caption) == sentence


def test_a_long_caption_is_cut_after_a_word() -> None:
    sentence = alt_text("a dog and a cat, " * 20)

    assert MAX_LENGTH - len(" and a cat,") < len(sentence) <= MAX_LENGTH
    assert sentence.startswith("A dog and") and sentence.endswith(("dog…", "and…", "a…", "cat…"))


def test_a_sentence_of_the_full_length_is_not_cut() -> None:
    assert alt_text("a" * (MAX_LENGTH - 1)) == "A" + "a" * (MAX_LENGTH - 2) + "."


def test_a_single_long_word_is_cut() -> None:
    assert alt_text("a" * 200) == "A" + "a" * (MAX_LENGTH - 2) + "…"
