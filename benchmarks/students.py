"""The students that the benchmarks measure, their input images, and the operations that a caption takes."""

from __future__ import annotations

import io
from collections.abc import Iterator

import numpy as np
import torch
from PIL import Image
from tokenizers import Tokenizer, models
from torch.utils.flop_counter import FlopCounterMode
from transformers import BlipConfig, BlipForConditionalGeneration, PreTrainedTokenizerFast

from captioning.student import build, deployed_config, load_student
from captioning.student.stem import CLASSES, LAST_CHANNELS, Stem
from captioning.student.tokens import SPECIAL_TOKENS, to_transformers

#: Token ids of the special tokens: those of BERT's vocabulary, then BLIP's two.
SPECIAL_IDS = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103, "[DEC]": 30522, "[ENC]": 30523}
VOCABULARY_SIZE = 30524


def deployed() -> tuple[BlipForConditionalGeneration, PreTrainedTokenizerFast]:
    """A model with the deployed student's configuration and random weights, and a word-level tokenizer."""
    torch.manual_seed(0)
    words = {f"word{number}": number for number in range(VOCABULARY_SIZE) if number not in SPECIAL_IDS.values()}
    assert set(SPECIAL_IDS) == set(SPECIAL_TOKENS)
    tokenizer = to_transformers(Tokenizer(models.WordLevel(words | SPECIAL_IDS, unk_token="[UNK]")))
    return build(deployed_config()).eval(), tokenizer


def demo() -> tuple[BlipForConditionalGeneration, PreTrainedTokenizerFast]:
    """The bundled demo student and its tokenizer."""
    student = load_student("demo", processor="unused")
    return student.model, student.tokenizer


def photographs() -> Iterator[bytes]:
    """An endless series of different JPEG files of a photograph's size and detail."""
    random = np.random.default_rng(0)
    while True:
        coarse = Image.fromarray(random.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        coarse.resize((1024, 768), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        yield buffer.getvalue()


def operations(config: BlipConfig, beams: int, tokens: int) -> float:
    """Floating-point operations per image in billions, without any repeated computation."""
    vision, text = config.vision_config, config.text_config
    length = (vision.image_size // vision.patch_size) ** 2 + 1
    width, inner = vision.hidden_size, vision.intermediate_size
    stem = getattr(vision, "stem", None)
    patches = (length - 1) * (LAST_CHANNELS if stem else 3 * vision.patch_size**2) * width
    patches += multiplications(stem, vision.image_size) + CLASSES * (LAST_CHANNELS + width) if stem else 0
    layer = length * width * (4 * width + 2 * inner) + 2 * length**2 * width
    cross_kv = text.num_hidden_layers * length * width * 2 * text.hidden_size
    text_layer = text.hidden_size * (6 * text.hidden_size + 2 * text.intermediate_size) + 2 * length * text.hidden_size
    step = text.num_hidden_layers * text_layer + text.hidden_size * (text.hidden_size + text.vocab_size)
    total = patches + vision.num_hidden_layers * layer + cross_kv + (1 + beams * (tokens - 1)) * step
    return float(2 * total / 1e9)


def multiplications(stem: str, side: int) -> int:
    """Multiply-add operations of a stem for one image of `side` x `side` pixels."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        Stem(stem)(torch.empty(1, 3, side, side))
    return int(counter.get_total_flops()) // 2
