"""The students that are measured, what they look at, and how much arithmetic a picture takes."""

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
from captioning.student.stem import LAST_CHANNELS, Stem
from captioning.student.tokens import SPECIAL_TOKENS, to_transformers

#: Where BERT's vocabulary has them, and BLIP's two come after it.
PLACES = {"[PAD]": 0, "[UNK]": 100, "[CLS]": 101, "[SEP]": 102, "[MASK]": 103, "[DEC]": 30522, "[ENC]": 30523}
WORDS = 30524


def deployed() -> tuple[BlipForConditionalGeneration, PreTrainedTokenizerFast]:
    """The deployed student's shape with random weights: what it says is nonsense, what it costs is the same."""
    torch.manual_seed(0)
    words = {f"word{number}": number for number in range(WORDS) if number not in PLACES.values()}
    assert set(PLACES) == set(SPECIAL_TOKENS)
    tokenizer = to_transformers(Tokenizer(models.WordLevel(words | PLACES, unk_token="[UNK]")))
    return build(deployed_config()).eval(), tokenizer


def demo() -> tuple[BlipForConditionalGeneration, PreTrainedTokenizerFast]:
    """The bundled student."""
    student = load_student("demo", processor="unused")
    return student.model, student.tokenizer


def photographs() -> Iterator[bytes]:
    """JPEG files of a photograph's size and detail, no two the same, without end."""
    random = np.random.default_rng(0)
    while True:
        coarse = Image.fromarray(random.integers(0, 256, (24, 32, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        coarse.resize((1024, 768), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
        yield buffer.getvalue()


def operations(config: BlipConfig, beams: int, tokens: int) -> float:
    """Multiplications and additions that one picture takes, in billions, when nothing is computed twice."""
    vision, text = config.vision_config, config.text_config
    length = (vision.image_size // vision.patch_size) ** 2 + 1
    wide, inner = vision.hidden_size, vision.intermediate_size
    stem = getattr(vision, "stem", None)
    patches = (length - 1) * (LAST_CHANNELS if stem else 3 * vision.patch_size**2) * wide
    patches += multiplications(stem, vision.image_size) if stem else 0
    layer = length * wide * (4 * wide + 2 * inner) + 2 * length**2 * wide
    pictures = text.num_hidden_layers * length * wide * 2 * text.hidden_size
    word = text.hidden_size * (6 * text.hidden_size + 2 * text.intermediate_size) + 2 * length * text.hidden_size
    step = text.num_hidden_layers * word + text.hidden_size * (text.hidden_size + text.vocab_size)
    total = patches + vision.num_hidden_layers * layer + pictures + (1 + beams * (tokens - 1)) * step
    return float(2 * total / 1e9)


def multiplications(stem: str, side: int) -> int:
    """Of a stem, for a picture."""
    with torch.device("meta"), FlopCounterMode(display=False) as counter:
        Stem(stem)(torch.empty(1, 3, side, side))
    return int(counter.get_total_flops()) // 2
