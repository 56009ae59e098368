"""Trains a small WordPiece tokenizer of BLIP's kind on the training captions, and cleans captions for it."""

from __future__ import annotations

import re
from collections.abc import Iterable

from tokenizers import Tokenizer, models, trainers
from tokenizers.normalizers import BertNormalizer
from tokenizers.pre_tokenizers import BertPreTokenizer
from transformers import PreTrainedTokenizerFast

from common.student.tokens import SPECIAL, wrap

#: What BLIP's `pre_caption` removes before training (salesforce/BLIP, data/utils.py).
_PUNCTUATION = re.compile(r"""[.!"()*#:;~]+""")


def clean(caption: str) -> str:
    """Lower case, sentence punctuation dropped, single spaces: the form captions are learnt in."""
    return " ".join(_PUNCTUATION.sub(" ", caption.lower()).split())


def train_tokenizer(captions: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A lower-case WordPiece tokenizer of at most `vocabulary` pieces; the same captions give the same pieces."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = BertPreTokenizer()
    trainer = trainers.WordPieceTrainer(
        vocab_size=vocabulary, special_tokens=list(SPECIAL), min_frequency=2, show_progress=False
    )
    tokenizer.train_from_iterator((clean(caption) for caption in captions), trainer)
    return wrap(tokenizer)
