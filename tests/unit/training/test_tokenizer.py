"""The small tokenizer is like BLIP's, and training it is deterministic."""

from __future__ import annotations

import pytest

from tests.support.models import CAPTIONS
from training.tokenizer import clean, train_tokenizer


def test_training_is_deterministic() -> None:
    assert train_tokenizer(CAPTIONS, 120).get_vocab() == train_tokenizer(CAPTIONS, 120).get_vocab()


def test_decoding_inverts_encoding() -> None:
    tokenizer = train_tokenizer(CAPTIONS, 120)

    for caption in CAPTIONS:
        assert tokenizer.decode(tokenizer.encode(caption, add_special_tokens=False)) == caption


def test_unknown_words_are_split_into_pieces() -> None:
    tokenizer = train_tokenizer(CAPTIONS, 120)

    assert tokenizer.decode(tokenizer.encode("strode", add_special_tokens=False)) == "strode"


def test_special_tokens_have_blip_s_ids() -> None:
    tokenizer = train_tokenizer(CAPTIONS, 120)

    assert tokenizer.convert_tokens_to_ids(["[PAD]", "[SEP]", "[DEC]", "[ENC]"]) == [0, 3, 5, 6]
    assert len(tokenizer.all_special_tokens) == 7


def test_the_vocabulary_size_is_limited() -> None:
    assert len(train_tokenizer(CAPTIONS, 70)) <= 70


@pytest.mark.parametrize(
    ("caption", "cleaned"), [("A dog  runs.", "a dog runs"), ("(Two) men: one #1!", "two men one 1"), ("", "")]
)
def test_captions_are_cleaned_as_in_blip(caption: str, cleaned: str) -> None:
    assert clean(caption) == cleaned
