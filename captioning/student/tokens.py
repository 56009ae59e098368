"""BLIP's kind of tokenizer: WordPiece, with [DEC] at the start of a caption and [SEP] at its end."""

from __future__ import annotations

from tokenizers import Tokenizer
from tokenizers.decoders import WordPiece
from transformers import PreTrainedTokenizerFast

#: The special tokens in order of their ids; [PAD] is 0 as in BERT. [ENC] marks BLIP's image-grounded encoder. It is
#: unused, but part of BLIP's vocabulary.
SPECIAL_TOKENS = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]")


def to_transformers(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """Convert to transformers' class with BLIP's special tokens."""
    tokenizer.decoder = WordPiece()
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        unk_token="[UNK]",
        pad_token="[PAD]",
        cls_token="[CLS]",
        sep_token="[SEP]",
        mask_token="[MASK]",
        bos_token="[DEC]",
        additional_special_tokens=["[ENC]"],
        clean_up_tokenization_spaces=True,
    )
