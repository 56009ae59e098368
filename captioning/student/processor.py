"""Loads the tokenizer of a student from a folder or from the Hugging Face hub."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerFast

from captioning.errors import StudentError
from common.translation import _

#: BLIP's two tokens beyond BERT's 30,522: the start of a caption, and the marker of the image-grounded encoder.
DECODER_TOKEN = "[DEC]"
ENCODER_TOKEN = "[ENC]"


def load_tokenizer(source: str | Path, config: PreTrainedConfig | None = None) -> PreTrainedTokenizerFast:
    """Load the tokenizer of a local folder or a hub id, with [DEC] as its start token.

    `config` is the model's configuration, if known. Raises `StudentError` if there is no such tokenizer.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(source), use_fast=True, config=config)
    except Exception as error:  # the hub's client raises OSError, ValueError, or its transport's own errors
        raise StudentError(
            _(
                "The tokenizer of {source} cannot be loaded: it is not a local folder, and it cannot be downloaded "
                "from the Hugging Face hub. Connect this machine to the Internet once, or set CAPTIOND_PROCESSOR to a "
                "folder with the files of Salesforce/blip-image-captioning-base (tokenizer.json or vocab.txt among "
                "them).",
                source=source,
            )
        ) from error
    missing = [token for token in (DECODER_TOKEN, ENCODER_TOKEN) if token not in tokenizer.get_vocab()]
    if missing:  # these are BERT's files; the published BLIP tokenizer adds the two in this order
        tokenizer.add_special_tokens({"additional_special_tokens": missing})
    tokenizer.bos_token = DECODER_TOKEN
    fast: PreTrainedTokenizerFast = tokenizer
    return fast
