"""Tiny BLIPs and the tokenizer that goes with them, made in a moment."""

from __future__ import annotations

import torch
from transformers import BlipConfig, BlipForConditionalGeneration, PreTrainedTokenizerFast

from captioning.student import build, small_config
from training.tokenizer import train_tokenizer

CAPTIONS = [
    "a dog runs through the grass",
    "a cat sits on a red chair",
    "two men ride bikes on the street",
    "a woman holds a dog on the street",
] * 3


def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """Some dozens of word pieces."""
    return train_tokenizer(CAPTIONS, 120)


def tiny_config(tokenizer: PreTrainedTokenizerFast) -> BlipConfig:
    """2 + 2 layers, 32 pixels."""
    return small_config(tokenizer, image_size=32, vision=(32, 2, 4), text=(16, 2, 2))


def tiny_hybrid_config(tokenizer: PreTrainedTokenizerFast) -> BlipConfig:
    """1 + 2 layers behind a whole stem, 64 pixels."""
    return small_config(tokenizer, image_size=64, vision=(32, 1, 4), text=(16, 2, 2), stem="efficientnet-lite2")


def tiny_hybrid(seed: int = 0) -> BlipForConditionalGeneration:
    """A hybrid of that shape with random weights, in eval mode."""
    torch.manual_seed(seed)
    return build(tiny_hybrid_config(tiny_tokenizer())).eval()


def tiny_model(seed: int = 0) -> BlipForConditionalGeneration:
    """A model of that shape with random weights, in eval mode."""
    torch.manual_seed(seed)
    return build(tiny_config(tiny_tokenizer())).eval()
