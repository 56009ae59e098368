"""The teacher and the student of a run."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from transformers import BlipConfig, BlipForConditionalGeneration, PreTrainedTokenizerFast

from captioning.errors import StudentError
from captioning.student import (
    Student,
    build,
    deployed_config,
    load_student,
    load_tokenizer,
    preprocessing_of,
    small_config,
)
from captioning.student.checkpoint import load_checkpoint
from captioning.student.stem import PATCH_SIZE
from common.settings import from_environment
from training.config import Config
from training.init_from_teacher import start_from
from training.stem import freeze, patches_of, start_from_published
from training.tokenizer import train_tokenizer

#: Attention heads of BLIP base's text decoder, for a teacher in a `.pt` without a configuration.
TEACHER_TEXT_HEADS = 12
#: Image side in pixels of the small models.
SMALL_IMAGE_SIZE = 256

#: The small models: (width, layers, heads) of the vision encoder and of the text decoder, and the stem.
SMALL: Mapping[str, tuple[tuple[int, int, int], tuple[int, int, int], str | None]] = {
    "demo": ((256, 1, 4), (256, 3, 4), "efficientnet-lite2"),
    "vit": ((256, 6, 4), (256, 4, 4), None),
    "demo-teacher": ((320, 8, 5), (320, 6, 5), None),
}


def load_teacher(config: Config) -> Student | None:
    """The frozen teacher with its tokenizer; None with --teacher none. Raises `StudentError`."""
    if config.teacher == "none":
        return None
    processor = config.tokenizer or from_environment().processor
    loaded = load_student(config.teacher, processor=processor, text_heads=TEACHER_TEXT_HEADS)
    freeze(loaded.model, trained=False)
    loaded.model.requires_grad_(False)
    return loaded


def make_tokenizer(config: Config, captions: Callable[[], Iterable[str]]) -> PreTrainedTokenizerFast:
    """The tokenizer of a run without a teacher: --tokenizer, the `.pt`'s, BLIP's, or one trained on `captions`."""
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
    """The student, initialised randomly, from the teacher, from published stem weights, or from a `.pt`.

    Raises `StudentError` for a teacher with other preprocessing or another vocabulary, and for settings that need a
    stem.
    """
    torch.manual_seed(config.seed)
    if Path(config.student).suffix == ".pt":
        settings = from_environment()
        student, _ = load_checkpoint(
            Path(config.student), text_heads=settings.text_heads, vision_heads=settings.vision_heads
        )
    else:
        blip_config = student_config(config, tokenizer)
        if teacher is not None and not hasattr(blip_config.vision_config, "stem"):  # they share their pixels
            preprocessing = preprocessing_of(teacher.config)
            blip_config.vision_config.image_mean = list(preprocessing.mean)
            blip_config.vision_config.image_std = list(preprocessing.std)
        student = build(blip_config)
    if teacher is not None:
        check_teacher(teacher, student)
    if teacher is not None and config.image_mse:
        of_teacher, of_student = (model.config.vision_config.hidden_size for model in (teacher, student))
        if of_teacher != of_student:
            raise StudentError(
                f"The teacher's image states have width {of_teacher}, the student's {of_student}, so they cannot be "
                "compared. Leave out --image-mse."
            )
    if teacher is not None and config.init == "teacher":
        start_from(teacher, student)
    if config.stem != "none":
        start_from_published(student, config.stem)
    elif patches_of(student) and config.init == "random" and Path(config.student).suffix != ".pt":
        raise StudentError(
            f"The stem of --student {config.student} needs published weights: use --stem efficientnet-lite2."
        )
    if (patches := patches_of(student)) is not None:
        patches.classes_only = config.classes_only
    elif config.novel_objects or config.classes_only:
        raise StudentError("--novel-objects and --classes-only need a student with a stem, such as --student demo.")
    freeze(student, trained=config.stem_lr > 0)
    head = student.text_decoder.cls.predictions
    if head.bias is not head.decoder.bias:  # unused bias of a file with untied weights; DDP would wait for its gradient
        head.bias.requires_grad_(False)
    return student


def check_teacher(teacher: BlipForConditionalGeneration, student: BlipForConditionalGeneration) -> None:
    """Raise `StudentError` unless both have the same image size, vocabulary size and preprocessing."""
    for part, name in (("vision_config", "image_size"), ("text_config", "vocab_size")):
        of_teacher, of_student = (getattr(getattr(model.config, part), name) for model in (teacher, student))
        if of_teacher != of_student:
            raise StudentError(
                f"The teacher's {name} is {of_teacher}, the student's {of_student}: their logits cannot be compared. "
                "Use --image-size and a --student with the teacher's vocabulary."
            )
    if preprocessing_of(teacher.config) != preprocessing_of(student.config):
        raise StudentError("The teacher and the student normalise images differently, so they cannot share pixels.")


def student_config(config: Config, tokenizer: PreTrainedTokenizerFast) -> BlipConfig:
    """The configuration that `--student` names, modified by the flags of its shape."""
    if config.student == "seed":
        blip_config = deployed_config()
    elif config.student in SMALL:
        vision, text, stem = SMALL[config.student]
        blip_config = small_config(
            tokenizer, image_size=SMALL_IMAGE_SIZE, vision=vision, text=text, patch_size=PATCH_SIZE, stem=stem
        )
    else:
        try:
            blip_config = BlipConfig.from_dict(json.loads(Path(config.student).read_text(encoding="utf-8")))
        except (OSError, ValueError) as error:
            raise StudentError(f"--student {config.student} is neither a name nor a readable BlipConfig.") from error
    for (part, name), value in {
        ("vision_config", "image_size"): config.image_size,
        ("vision_config", "num_hidden_layers"): config.student_vision_layers,
        ("text_config", "num_hidden_layers"): config.student_text_layers,
        ("text_config", "hidden_size"): config.student_text_hidden,
        ("text_config", "num_attention_heads"): config.student_text_heads,
        ("text_config", "intermediate_size"): config.student_text_ffn,
    }.items():
        if value:
            setattr(getattr(blip_config, part), name, value)
    blip_config.text_config.hidden_dropout_prob = config.dropout or blip_config.text_config.hidden_dropout_prob
    if blip_config.text_config.hidden_size % blip_config.text_config.num_attention_heads:
        raise StudentError(
            f"A text decoder of width {blip_config.text_config.hidden_size} cannot have "
            f"{blip_config.text_config.num_attention_heads} attention heads; --student-text-heads must divide it."
        )
    return blip_config
