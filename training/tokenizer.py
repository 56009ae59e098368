"""Clean captions, and train a small WordPiece tokenizer like BLIP's on them."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tokenizers import Tokenizer, models, trainers
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from transformers import PreTrainedTokenizerFast

from captioning.student.tokens import SPECIAL_TOKENS, to_transformers

#: Characters that BLIP's `pre_caption` removes before training (salesforce/BLIP, data/utils.py).
_PUNCTUATION = re.compile(r"""[.!"()*#:;~]+""")


def clean(caption: str) -> str:
    """The training form of a caption: lower case, without sentence punctuation, with single spaces."""
    return " ".join(_PUNCTUATION.sub(" ", caption.lower()).split())


def train_tokenizer(captions: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """Train a lower-case WordPiece tokenizer of at most `vocabulary` pieces. The result is deterministic."""
    texts = [clean(caption) for caption in captions]
    trained = _tokenizer(models.WordPiece(unk_token="[UNK]"))
    words = [word for text in texts for word in _words(trained, text)]
    # The trainer numbers continuations (##a) in the random order of a hash map, and breaks ties by these numbers.
    # As special tokens they are numbered in this order. Only the vocabulary of the trained tokenizer is used.
    continuations = sorted({"##" + letter for word in words for letter in word[1:]})
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary, special_tokens=[*SPECIAL_TOKENS, *continuations], min_frequency=2, show_progress=False
    )
    trained.train_from_iterator(texts, trainer)
    return to_transformers(_tokenizer(models.WordPiece(trained.get_vocab(), unk_token="[UNK]")))


def _tokenizer(model: models.WordPiece) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    return tokenizer


def _words(tokenizer: Tokenizer, text: str) -> list[str]:
    pieces = tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))
    return [word for word, _ in pieces]
