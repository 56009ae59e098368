"""What shapes a student has: the mission's, the demo's, and those read off any reduced BLIP's weights.

A `BlipConfig` says it all. Beyond what transformers knows, its `vision_config` may name a `stem` in the place of the
patch embedding, and the `image_mean` and `image_std` that pictures are normalised by where these are not CLIP's.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from transformers import BlipConfig, BlipForConditionalGeneration

from captioning.preprocessing import CLIP_MEAN, CLIP_STD, Preprocessing
from captioning.student import stem as stems
from captioning.student.errors import StudentError
from captioning.student.stem import STEMS, HybridPatches

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

#: Standard deviation of a new vision tower's weights. transformers' default for BLIP is 1e-10, for towers that
#: are loaded right after; a student that starts from it is all but blind to the picture.
VISION_INIT_STD = 0.02

WORD_EMBEDDINGS = "text_decoder.bert.embeddings.word_embeddings.weight"
PATCHES = "vision_model.embeddings.patch_embedding"
HEAD = "text_decoder.cls.predictions.decoder.weight"


def seed_config() -> BlipConfig:
    """The deployed student: 6 + 6 layers, text 512 wide, 86.5 M parameters tied."""
    return BlipConfig(
        text_config={
            "hidden_size": 512,
            "intermediate_size": 2048,
            "num_attention_heads": 8,
            "num_hidden_layers": 6,
            "encoder_hidden_size": 768,
            "vocab_size": 30524,
            "max_position_embeddings": 512,
        },
        vision_config={
            "hidden_size": 768,
            "intermediate_size": 3072,
            "num_attention_heads": 12,
            "num_hidden_layers": 6,
            "image_size": 384,
            "patch_size": 16,
            "initializer_range": VISION_INIT_STD,
        },
        projection_dim=512,
    )


def small_config(
    tokenizer: PreTrainedTokenizerFast,
    *,
    image_size: int,
    vision: tuple[int, int, int],
    text: tuple[int, int, int],
    patch_size: int = 16,
    stem: str | None = None,
) -> BlipConfig:
    """A BLIP for `tokenizer` with `vision` and `text` towers given as (width, layers, heads), 4 x wide inside.

    With a `stem` it is a hybrid, whose patches are the stem's.
    """
    vision_width, vision_layers, vision_heads = vision
    text_width, text_layers, text_heads = text
    return BlipConfig(
        text_config={
            "hidden_size": text_width,
            "intermediate_size": 4 * text_width,
            "num_attention_heads": text_heads,
            "num_hidden_layers": text_layers,
            "encoder_hidden_size": vision_width,
            "vocab_size": len(tokenizer),
            "max_position_embeddings": 64,
            **token_ids(tokenizer),
        },
        vision_config={
            "hidden_size": vision_width,
            "intermediate_size": 4 * vision_width,
            "num_attention_heads": vision_heads,
            "num_hidden_layers": vision_layers,
            "image_size": image_size,
            "patch_size": patch_size,
            "initializer_range": VISION_INIT_STD,
            **(_with_stem(stem) if stem else {}),
        },
        projection_dim=64,
    )


def _with_stem(name: str) -> dict[str, Any]:
    """What a stem says of the vision tower."""
    return {"stem": name, "patch_size": stems.PATCH, "image_mean": list(stems.MEAN), "image_std": list(stems.STD)}


def preprocessing_of(config: BlipConfig) -> Preprocessing:
    """How a model takes its pictures: its side, and CLIP's mean and deviation unless its configuration has its own."""
    vision = config.vision_config
    mean, std = getattr(vision, "image_mean", None), getattr(vision, "image_std", None)
    return Preprocessing(int(vision.image_size), tuple(mean or CLIP_MEAN), tuple(std or CLIP_STD))


def token_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """The ids with which BLIP starts ([DEC]), ends ([SEP]) and fills up ([PAD]) a caption."""
    return {
        "bos_token_id": tokenizer.bos_token_id,
        "sep_token_id": tokenizer.sep_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def build(config: BlipConfig) -> BlipForConditionalGeneration:
    """A model with new random weights, its vision tower able to see whatever the configuration says.

    Raises `StudentError` for a stem that is not known.
    """
    if config.vision_config.initializer_range < VISION_INIT_STD:
        config.vision_config.initializer_range = VISION_INIT_STD
    model = BlipForConditionalGeneration(config)
    stem = getattr(config.vision_config, "stem", None)
    if stem is not None:
        if stem not in STEMS:
            raise StudentError(f"The model's stem is {stem}, which is none of {', '.join(STEMS)}.")
        model.vision_model.embeddings.patch_embedding = HybridPatches(stem, config.vision_config.hidden_size)
    return model


def infer_config(state: Mapping[str, torch.Tensor], *, text_heads: int, vision_heads: int) -> BlipConfig:
    """The configuration that fits a state dict. Head counts leave no trace in shapes, so they are told.

    Embeddings and head that differ are kept apart: checkpoints from transformers 4.41 hold two tensors, and a
    tied model would load the one over the other without a word.
    Raises `KeyError`, naming the tensor, when it is no BLIP captioner's state dict.
    """
    vocab_size, text_width = state[WORD_EMBEDDINGS].shape
    vision_width, _, patch_size, _ = state[f"{PATCHES}.weight"].shape
    stem = _stem(state)
    patch_size = stems.PATCH if stem else patch_size
    positions = state["vision_model.embeddings.position_embedding"].shape[1] - 1
    head = state.get(HEAD)
    tied = head is None or torch.equal(head, state[WORD_EMBEDDINGS])
    text: dict[str, Any] = {
        "hidden_size": text_width,
        "intermediate_size": state["text_decoder.bert.encoder.layer.0.intermediate.dense.weight"].shape[0],
        "num_attention_heads": text_heads,
        "num_hidden_layers": _layers(state, "text_decoder.bert.encoder.layer."),
        "encoder_hidden_size": vision_width,
        "vocab_size": vocab_size,
        "max_position_embeddings": state["text_decoder.bert.embeddings.position_embeddings.weight"].shape[0],
        "tie_word_embeddings": tied,
    }
    vision = {
        "hidden_size": vision_width,
        "intermediate_size": state["vision_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
        "num_attention_heads": vision_heads,
        "num_hidden_layers": _layers(state, "vision_model.encoder.layers."),
        "image_size": round(positions**0.5) * patch_size,
        "patch_size": patch_size,
        "initializer_range": VISION_INIT_STD,
        **(_with_stem(stem) if stem else {}),
    }
    return BlipConfig(text_config=text, vision_config=vision, projection_dim=512, tie_word_embeddings=tied)


def _stem(state: Mapping[str, torch.Tensor]) -> str | None:
    """The stem whose weights are among the others."""
    blocks = f"{PATCHES}.stem.blocks."
    if not any(key.startswith(blocks) for key in state):
        return None
    return stems.name_of([len(state[f"{blocks}{number}.narrow.weight"]) for number in range(_layers(state, blocks))])


def _layers(state: Mapping[str, torch.Tensor], prefix: str) -> int:
    numbers = {int(key[len(prefix) :].split(".")[0]) for key in state if key.startswith(prefix)}
    if not numbers:
        raise KeyError(prefix + "0")
    return max(numbers) + 1
