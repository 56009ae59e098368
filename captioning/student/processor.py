"""The tokenizer of a student that brings none: a `.pt` of weights alone."""

from __future__ import annotations

from pathlib import Path

from transformers import AutoTokenizer, PreTrainedConfig, PreTrainedTokenizerFast

from captioning.student.errors import StudentError

#: BLIP's two tokens beyond BERT's 30,522: the start of a caption, and the marker of the grounded encoder.
DECODER_TOKEN = "[DEC]"
ENCODER_TOKEN = "[ENC]"


def load_tokenizer(source: str | Path, config: PreTrainedConfig | None = None) -> PreTrainedTokenizerFast:
    """The tokenizer of a local folder or a hub id, with [DEC] as its start token; `config` is its model's, if known.

    Raises `StudentError` with what to do when it cannot be had.
    """
    try:
        tokenizer = AutoTokenizer.from_pretrained(str(source), use_fast=True, config=config)
    except Exception as error:  # the hub's client raises OSError, ValueError, or its transport's own errors
        raise StudentError(
            f"The tokenizer of {source} cannot be had: it is no local folder, and the Hugging Face hub does not "
            "answer with it. Connect this machine to the internet once, or set CAPTIOND_PROCESSOR to a folder with "
            "the files of Salesforce/blip-image-captioning-base (tokenizer.json or vocab.txt among them)."
        ) from error
    missing = [token for token in (DECODER_TOKEN, ENCODER_TOKEN) if token not in tokenizer.get_vocab()]
    if missing:  # BERT's own files: the published BLIP tokenizer adds the two, in this order
        tokenizer.add_special_tokens({"additional_special_tokens": missing})
    tokenizer.bos_token = DECODER_TOKEN
    fast: PreTrainedTokenizerFast = tokenizer
    return fast
