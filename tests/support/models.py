"""Tiny BLIP models with random weights, and their tokenizer."""

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
    """A tokenizer with at most 120 word pieces."""
    return train_tokenizer(CAPTIONS, 120)


def tiny_config(tokenizer: PreTrainedTokenizerFast) -> BlipConfig:
    """Configuration with 2 vision and 2 text layers, 32 x 32 pixels."""
    return small_config(tokenizer, image_size=32, vision=(32, 2, 4), text=(16, 2, 2))


def tiny_hybrid_config(tokenizer: PreTrainedTokenizerFast) -> BlipConfig:
    """Configuration of a hybrid: a complete stem, 1 vision and 2 text layers, 64 x 64 pixels."""
    return small_config(tokenizer, image_size=64, vision=(32, 1, 4), text=(16, 2, 2), stem="efficientnet-lite2")


def tiny_hybrid(seed: int = 0) -> BlipForConditionalGeneration:
    """A model of `tiny_hybrid_config` with random weights, in eval mode."""
    torch.manual_seed(seed)
    return build(tiny_hybrid_config(tiny_tokenizer())).eval()


def tiny_model(seed: int = 0) -> BlipForConditionalGeneration:
    """A model of `tiny_config` with random weights, in eval mode."""
    torch.manual_seed(seed)
    return build(tiny_config(tiny_tokenizer())).eval()
