"""The small tokenizer is of BLIP's kind, and the same captions give the same one."""

from __future__ import annotations

import pytest

from tests.support.models import CAPTIONS
from training.tokenizer import clean, train_tokenizer


def test_the_same_captions_give_the_same_pieces() -> None:
    assert train_tokenizer(CAPTIONS, 120).get_vocab() == train_tokenizer(CAPTIONS, 120).get_vocab()


def test_captions_come_back_as_they_went_in() -> None:
    tokenizer = train_tokenizer(CAPTIONS, 120)

    for caption in CAPTIONS:
        assert tokenizer.decode(tokenizer.encode(caption, add_special_tokens=False)) == caption


def test_unknown_words_are_spelt_of_pieces() -> None:
    tokenizer = train_tokenizer(CAPTIONS, 120)

    assert tokenizer.decode(tokenizer.encode("strode", add_special_tokens=False)) == "strode"


def test_the_special_tokens_stand_where_blip_s_do() -> None:
    tokenizer = train_tokenizer(CAPTIONS, 120)

    assert tokenizer.convert_tokens_to_ids(["[PAD]", "[SEP]", "[DEC]", "[ENC]"]) == [0, 3, 5, 6]
    assert len(tokenizer.all_special_tokens) == 7


def test_the_vocabulary_has_its_limit() -> None:
    assert len(train_tokenizer(CAPTIONS, 70)) <= 70


@pytest.mark.parametrize(
    ("caption", "cleaned"), [("A dog  runs.", "a dog runs"), ("(Two) men: one #1!", "two men one 1"), ("", "")]
)
def test_captions_are_cleaned_as_blip_cleans_them(caption: str, cleaned: str) -> None:
    assert clean(caption) == cleaned
