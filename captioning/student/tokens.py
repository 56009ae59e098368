"""A tokenizer of BLIP's kind: WordPiece with [DEC] to begin a caption and [SEP] to end it."""

from __future__ import annotations

from tokenizers import Tokenizer
from tokenizers.decoders import WordPiece
from transformers import PreTrainedTokenizerFast

#: In this order, so that [PAD] is 0 as in BERT. [ENC] is BLIP's marker of the image-grounded encoder, kept so
#: that the vocabulary has BLIP's form.
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "[DEC]", "[ENC]")


def wrap(tokenizer: Tokenizer) -> PreTrainedTokenizerFast:
    """As transformers' class, with BLIP's special tokens named."""
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
