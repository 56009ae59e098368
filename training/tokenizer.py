"""Trains a small WordPiece tokenizer of BLIP's kind on the training captions, and cleans captions for it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tokenizers import Tokenizer, models, trainers
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from transformers import PreTrainedTokenizerFast

from captioning.student.tokens import SPECIAL_TOKENS, to_transformers

#: What BLIP's `pre_caption` removes before training (salesforce/BLIP, data/utils.py).
_PUNCTUATION = re.compile(r"""[.!"()*#:;~]+""")


def clean(caption: str) -> str:
    """Lower case, sentence punctuation dropped, single spaces: the form captions are learnt in."""
    return " ".join(_PUNCTUATION.sub(" ", caption.lower()).split())


def train_tokenizer(captions: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A lower-case WordPiece tokenizer of at most `vocabulary` pieces; the same captions give the same pieces."""
    texts = [clean(caption) for caption in captions]
    learnt = _tokenizer(models.WordPiece(unk_token="[UNK]"))
    words = [word for text in texts for word in _words(learnt, text)]
    # The trainer numbers continuations (##a) in the random order of a hash map, and breaks ties by these numbers.
    # Named among the special tokens they get theirs from here; only the vocabulary is kept of what is learnt.
    continuations = sorted({"##" + letter for word in words for letter in word[1:]})
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary, special_tokens=[*SPECIAL_TOKENS, *continuations], min_frequency=2, show_progress=False
    )
    learnt.train_from_iterator(texts, trainer)
    return to_transformers(_tokenizer(models.WordPiece(learnt.get_vocab(), unk_token="[UNK]")))


def _tokenizer(model: models.WordPiece) -> Tokenizer:
    tokenizer = Tokenizer(model)
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    return tokenizer


def _words(tokenizer: Tokenizer, text: str) -> list[str]:
    cut = tokenizer.pre_tokenizer.pre_tokenize_str(tokenizer.normalizer.normalize_str(text))
    return [word for word, _ in cut]
