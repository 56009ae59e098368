"""The teacher and the student of a run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from transformers import BlipConfig, BlipForConditionalGeneration, PreTrainedTokenizerFast

from captioning.student import (
    Student,
    build,
    load_student,
    load_tokenizer,
    preprocessing_of,
    seed_config,
    small_config,
)
from captioning.student.checkpoint import load_checkpoint
from captioning.student.errors import StudentError
from captioning.student.stem import PATCH
from common.settings import from_environment
from training.config import Config
from training.init_from_teacher import start_from
from training.stem import freeze, patches_of, start_from_published
from training.tokenizer import train_tokenizer

#: Attention heads of BLIP base's text decoder, for a teacher in a `.pt` that cannot tell.
TEACHER_TEXT_HEADS = 12
#: Side in pixels of the small models' images.
SMALL_IMAGE_SIZE = 256

#: The small models: (width, layers, heads) of the vision and of the text tower, and the stem.
SMALL: Mapping[str, tuple[tuple[int, int, int], tuple[int, int, int], str | None]] = {
    "demo": ((256, 1, 4), (256, 3, 4), "efficientnet-lite2"),
    "vit": ((256, 6, 4), (256, 4, 4), None),
    "demo-teacher": ((320, 8, 5), (320, 6, 5), None),
}


def load_teacher(config: Config) -> Student | None:
    """The frozen teacher with its tokenizer; None for a run by cross-entropy alone. Raises `StudentError`."""
    if config.teacher == "none":
        return None
    processor = config.tokenizer or from_environment().processor
    loaded = load_student(config.teacher, processor=processor, text_heads=TEACHER_TEXT_HEADS)
    freeze(loaded.model, trained=False)
    loaded.model.requires_grad_(False)
    return loaded


def make_tokenizer(config: Config, captions: Callable[[], Iterable[str]]) -> PreTrainedTokenizerFast:
    """The tokenizer of a run without a teacher: the one named, the `.pt`'s, BLIP's, or one trained on `captions`."""
    if config.tokenizer:
        return load_tokenizer(config.tokenizer)
    if Path(config.student).suffix == ".pt":
        return load_student(config.student, processor=from_environment().processor).tokenizer
    if config.student in SMALL:
        return train_tokenizer(captions(), config.vocabulary)
    return load_tokenizer(from_environment().processor)


def make_student(
    config: Config, tokenizer: PreTrainedTokenizerFast, teacher: BlipForConditionalGeneration | None = None
) -> BlipForConditionalGeneration:
    """A student with seeded new weights, the teacher's as far as they fit, or those of a `.pt`.

    Raises `StudentError` for a teacher that does not see the same images or speak the same tokens.
    """
    torch.manual_seed(config.seed)
    if Path(config.student).suffix == ".pt":
        settings = from_environment()
        student, _ = load_checkpoint(
            Path(config.student), text_heads=settings.text_heads, vision_heads=settings.vision_heads
        )
    else:
        shapes = student_config(config, tokenizer)
        if teacher is not None and not hasattr(shapes.vision_config, "stem"):  # it sees the very pixels that this sees
            preprocessing = preprocessing_of(teacher.config)
            shapes.vision_config.image_mean = list(preprocessing.mean)
            shapes.vision_config.image_std = list(preprocessing.std)
        student = build(shapes)
    if teacher is not None:
        check_teacher(teacher, student)
    if teacher is not None and config.image_mse:
        of_teacher, of_student = (model.config.vision_config.hidden_size for model in (teacher, student))
        if of_teacher != of_student:
            raise StudentError(
                f"The teacher's image states are {of_teacher} wide, the student's {of_student}: they cannot be "
                "compared. Leave --image-mse out."
            )
    if teacher is not None and config.init == "teacher":
        start_from(teacher, student)
    if config.stem != "none":
        start_from_published(student, config.stem)
    elif patches_of(student) and config.init == "random" and Path(config.student).suffix != ".pt":
        raise StudentError(
            f"The stem of --student {config.student} learns from published weights: give it --stem efficientnet-lite2."
        )
    freeze(student, trained=config.stem_lr > 0)
    head = student.text_decoder.cls.predictions
    if head.bias is not head.decoder.bias:  # of an untied file; nothing reads it, and DDP waits for every gradient
        head.bias.requires_grad_(False)
    return student


def check_teacher(teacher: BlipForConditionalGeneration, student: BlipForConditionalGeneration) -> None:
    """Raise `StudentError` unless both see the same images and speak the same tokens."""
    for tower, name in (("vision_config", "image_size"), ("text_config", "vocab_size")):
        of_teacher, of_student = (getattr(getattr(model.config, tower), name) for model in (teacher, student))
        if of_teacher != of_student:
            raise StudentError(
                f"The teacher's {name} is {of_teacher}, the student's {of_student}: its logits cannot be compared. "
                "Use --image-size and a --student with the teacher's vocabulary."
            )
    if preprocessing_of(teacher.config) != preprocessing_of(student.config):
        raise StudentError(
            "The teacher's images are normalised otherwise than the student's, so they cannot be shared."
        )


def student_config(config: Config, tokenizer: PreTrainedTokenizerFast) -> BlipConfig:
    """The shape that `--student` names, changed by the flags that change it."""
    if config.student == "seed":
        shapes = seed_config()
    elif config.student in SMALL:
        vision, text, stem = SMALL[config.student]
        shapes = small_config(
            tokenizer, image_size=SMALL_IMAGE_SIZE, vision=vision, text=text, patch_size=PATCH, stem=stem
        )
    else:
        try:
            shapes = BlipConfig.from_dict(json.loads(Path(config.student).read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise StudentError(f"--student {config.student} is neither a name nor a readable BlipConfig.") from error
    for (tower, name), value in {
        ("vision_config", "image_size"): config.image_size,
        ("vision_config", "num_hidden_layers"): config.student_vision_layers,
        ("text_config", "num_hidden_layers"): config.student_text_layers,
        ("text_config", "hidden_size"): config.student_text_hidden,
        ("text_config", "num_attention_heads"): config.student_text_heads,
        ("text_config", "intermediate_size"): config.student_text_ffn,
    }.items():
        if value:
            setattr(getattr(shapes, tower), name, value)
    shapes.text_config.hidden_dropout_prob = config.dropout or shapes.text_config.hidden_dropout_prob
    if shapes.text_config.hidden_size % shapes.text_config.num_attention_heads:
        raise StudentError(
            f"A text decoder {shapes.text_config.hidden_size} wide cannot have "
            f"{shapes.text_config.num_attention_heads} attention heads; give a divisor by --student-text-heads."
        )
    return shapes
