"""The teacher and the student of a run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from transformers import BlipConfig, BlipForConditionalGeneration, PreTrainedTokenizerFast

from common.settings import Settings
from common.student import build, load_student, load_tokenizer, seed_config, small_config
from training.config import Config
from training.data import Batch
from training.tokenizer import train_tokenizer

#: Attention heads of BLIP base's text decoder, for a teacher in a `.pt` that cannot tell.
TEACHER_TEXT_HEADS = 12
#: Side in pixels of the small students' pictures: what two processor cores can train on in hours.
DEMO_IMAGE_SIZE = 128

#: The small models: (width, layers, heads) of the vision and of the text tower.
SMALL = {
    "demo": ((256, 6, 4), (256, 4, 4)),
    "demo-teacher": ((320, 8, 5), (320, 6, 5)),
}


def load_teacher(config: Config) -> tuple[BlipForConditionalGeneration, PreTrainedTokenizerFast] | None:
    """The frozen teacher and its tokenizer; None for a run by cross-entropy alone. Raises `StudentError`."""
    if config.teacher == "none":
        return None
    processor = config.tokenizer or Settings().processor
    loaded = load_student(config.teacher, processor=processor, text_heads=TEACHER_TEXT_HEADS)
    return loaded.model.requires_grad_(False), loaded.tokenizer


def make_tokenizer(config: Config, captions: Callable[[], Iterable[str]]) -> PreTrainedTokenizerFast:
    """The tokenizer of a run without a teacher: the one named, BLIP's for the seed, else trained on `captions`."""
    if config.tokenizer:
        return load_tokenizer(config.tokenizer)
    if config.student in SMALL:
        return train_tokenizer(captions(), config.vocabulary)
    return load_tokenizer(Settings().processor)


def make_student(config: Config, tokenizer: PreTrainedTokenizerFast) -> BlipForConditionalGeneration:
    """A student with new weights, seeded."""
    torch.manual_seed(config.seed)
    return build(student_config(config, tokenizer))


def student_config(config: Config, tokenizer: PreTrainedTokenizerFast) -> BlipConfig:
    """The shapes that `--student` names."""
    if config.student == "seed":
        shapes = seed_config()
    elif config.student in SMALL:
        vision, text = SMALL[config.student]
        return small_config(tokenizer, image_size=config.image_size or DEMO_IMAGE_SIZE, vision=vision, text=text)
    else:
        shapes = BlipConfig.from_dict(json.loads(Path(config.student).read_text(encoding="utf-8")))
    if config.image_size:
        shapes.vision_config.image_size = config.image_size
    return shapes


def logits(model: BlipForConditionalGeneration, batch: Batch) -> torch.Tensor:
    """Logits [N, L - 1, V] for the tokens after the first; each picture is encoded once for all its captions."""
    states = model.vision_model(batch.pixels).last_hidden_state  # [B, patches + 1, width]
    inputs = batch.tokens[:, :-1]
    decoded: torch.Tensor = model.text_decoder(
        input_ids=inputs,
        attention_mask=torch.ones_like(inputs),  # padding stands at the end, where no real token looks
        encoder_hidden_states=states[batch.owner],
        use_cache=False,
    ).logits
    return decoded
