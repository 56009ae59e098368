"""Model configurations: the deployed student, the demo, and any reduced BLIP inferred from its state dict.

A configuration is a `BlipConfig` with two extensions in its `vision_config`: `stem` names a convolutional stem that
replaces the patch embedding, and `image_mean` and `image_std` replace CLIP's mean and standard deviation.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from transformers import BlipConfig, BlipForConditionalGeneration

from captioning.errors import StudentError
from captioning.preprocessing import CLIP_MEAN, CLIP_STD, Preprocessing
from captioning.student import stem as stems
from captioning.student.stem import STEMS, HybridPatches
from common.translation import _

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerFast

#: Standard deviation of a new vision encoder's initial weights. transformers' default for BLIP is 1e-10, because it
#: expects weights to be loaded afterwards. With it a new student's states hardly depend on the image.
VISION_INIT_STD = 0.02

WORD_EMBEDDINGS = "text_decoder.bert.embeddings.word_embeddings.weight"
PATCHES = "vision_model.embeddings.patch_embedding"
HEAD = "text_decoder.cls.predictions.decoder.weight"


def deployed_config() -> BlipConfig:
    """Return the deployed student's configuration: 6 + 6 layers, text width 512, 86.5 M parameters (tied)."""
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
    """Return the configuration of a small BLIP for `tokenizer`.

    `vision` and `text` are (width, layers, heads); the MLPs are 4 x width. `stem` makes it a hybrid with the stem of
    that name, and `patch_size` is ignored then.
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
            **(_stem_config(stem) if stem else {}),
        },
        projection_dim=64,
    )


def _stem_config(name: str) -> dict[str, Any]:
    """Return the entries of the `vision_config` that a stem sets."""
    return {"stem": name, "patch_size": stems.PATCH_SIZE, "image_mean": list(stems.MEAN), "image_std": list(stems.STD)}


def preprocessing_of(config: BlipConfig) -> Preprocessing:
    """Return a model's preprocessing. Mean and standard deviation are CLIP's unless the configuration has others."""
    vision = config.vision_config
    mean, std = getattr(vision, "image_mean", None), getattr(vision, "image_std", None)
    return Preprocessing(int(vision.image_size), tuple(mean or CLIP_MEAN), tuple(std or CLIP_STD))


def token_ids(tokenizer: PreTrainedTokenizerFast) -> dict[str, int]:
    """Return the ids of the tokens that start ([DEC]), end ([SEP]) and pad ([PAD]) a caption."""
    return {
        "bos_token_id": tokenizer.bos_token_id,
        "sep_token_id": tokenizer.sep_token_id,
        "eos_token_id": tokenizer.sep_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def build(config: BlipConfig) -> BlipForConditionalGeneration:
    """Build a model with random weights. Their standard deviation in the vision encoder is at least `VISION_INIT_STD`.

    Raises `StudentError` for an unknown stem.
    """
    if config.vision_config.initializer_range < VISION_INIT_STD:
        config.vision_config.initializer_range = VISION_INIT_STD
    model = BlipForConditionalGeneration(config)
    stem = getattr(config.vision_config, "stem", None)
    if stem is not None:
        if stem not in STEMS:
            raise StudentError(
                _("The model's stem {stem} is unknown. Known stems: {known}.", stem=stem, known=", ".join(STEMS))
            )
        model.vision_model.embeddings.patch_embedding = HybridPatches(stem, config.vision_config.hidden_size)
    return model


def infer_config(state: Mapping[str, torch.Tensor], *, text_heads: int, vision_heads: int) -> BlipConfig:
    """Infer the configuration from a state dict. Head counts do not show in the shapes, so they are arguments.

    Word embeddings and output head are untied if they differ: checkpoints from transformers 4.41 contain both, and a
    tied model would silently load one over the other. Raises `KeyError` with the missing tensor's name if it is not
    the state dict of a BLIP captioner.
    """
    vocab_size, text_width = state[WORD_EMBEDDINGS].shape
    vision_width, _, patch_size, _ = state[f"{PATCHES}.weight"].shape
    stem = _infer_stem(state)
    patch_size = stems.PATCH_SIZE if stem else patch_size
    positions = state["vision_model.embeddings.position_embedding"].shape[1] - 1
    head = state.get(HEAD)
    tied = head is None or torch.equal(head, state[WORD_EMBEDDINGS])
    text: dict[str, Any] = {
        "hidden_size": text_width,
        "intermediate_size": state["text_decoder.bert.encoder.layer.0.intermediate.dense.weight"].shape[0],
        "num_attention_heads": text_heads,
        "num_hidden_layers": _layer_count(state, "text_decoder.bert.encoder.layer."),
        "encoder_hidden_size": vision_width,
        "vocab_size": vocab_size,
        "max_position_embeddings": state["text_decoder.bert.embeddings.position_embeddings.weight"].shape[0],
        "tie_word_embeddings": tied,
    }
    vision = {
        "hidden_size": vision_width,
        "intermediate_size": state["vision_model.encoder.layers.0.mlp.fc1.weight"].shape[0],
        "num_attention_heads": vision_heads,
        "num_hidden_layers": _layer_count(state, "vision_model.encoder.layers."),
        "image_size": round(positions**0.5) * patch_size,
        "patch_size": patch_size,
        "initializer_range": VISION_INIT_STD,
        **(_stem_config(stem) if stem else {}),
    }
    return BlipConfig(text_config=text, vision_config=vision, projection_dim=512, tie_word_embeddings=tied)


def _infer_stem(state: Mapping[str, torch.Tensor]) -> str | None:
    """Return the name of the stem in a state dict, or None."""
    blocks = f"{PATCHES}.stem.blocks."
    if not any(key.startswith(blocks) for key in state):
        return None
    return stems.name_of(
        [len(state[f"{blocks}{number}.narrow.weight"]) for number in range(_layer_count(state, blocks))]
    )


def _layer_count(state: Mapping[str, torch.Tensor], prefix: str) -> int:
    numbers = {int(key[len(prefix) :].split(".")[0]) for key in state if key.startswith(prefix)}
    if not numbers:
        raise KeyError(prefix + "0")
    return max(numbers) + 1
