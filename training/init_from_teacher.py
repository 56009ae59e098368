"""Initialise a student from its teacher: evenly spaced layers, and embeddings projected to the student's width.

Layers are selected as in Distil-Whisper (Gandhi et al. 2023, arXiv 2311.00430). Embeddings of another width are
projected on the teacher's main directions by a truncated singular value decomposition; word and position embeddings
are added in the model, so they share one projection. If a student has more layers than its teacher, its last layers
are the teacher's. All other weights keep their random initialisation.
"""

from __future__ import annotations

import logging

import numpy as np
import torch
from transformers import BlipForConditionalGeneration
from transformers.models.blip.modeling_blip import BlipVisionEmbeddings

from captioning.student.stem import HybridPatches

log = logging.getLogger("training")


def evenly_spaced(teacher_layers: int, student_layers: int) -> list[int]:
    """Indices of the teacher's layers for a student with at most as many layers. They include the last layer."""
    indices = np.linspace(0, teacher_layers - 1, student_layers, dtype=int)
    indices[-1] = teacher_layers - 1
    return [int(index) for index in indices]


@torch.no_grad()
def start_from(teacher: BlipForConditionalGeneration, student: BlipForConditionalGeneration) -> None:
    """Copy the teacher's weights, as far as they fit, into a student on the same device; log what was copied."""
    _start_vision(teacher, student)
    _start_text(teacher, student)


def _start_vision(teacher: BlipForConditionalGeneration, student: BlipForConditionalGeneration) -> None:
    source, target = teacher.vision_model, student.vision_model
    if _shape(teacher.config.vision_config) == _shape(student.config.vision_config):
        _copy_embeddings(source.embeddings, target.embeddings)
        target.post_layernorm.load_state_dict(source.post_layernorm.state_dict())
        _copy_layers(source.encoder.layers, target.encoder.layers, "vision")
        return
    if isinstance(source.embeddings.patch_embedding, HybridPatches):
        log.info(
            "The student's vision encoder has another shape than the teacher's and no stem: it is initialised randomly."
        )
        return
    embeddings = [source.embeddings.class_embedding, source.embeddings.position_embedding]
    patches = source.embeddings.patch_embedding  # [width, 3, patch, patch]
    rows = [embedding.flatten(0, 1) for embedding in embeddings] + [patches.weight.flatten(1).T, patches.bias[None]]
    classes, positions, pixels, bias = _project(rows, target.config.hidden_size)
    target.embeddings.class_embedding.copy_(classes[None])
    target.embeddings.position_embedding.copy_(positions[None])
    target.embeddings.patch_embedding.weight.copy_(pixels.T.view_as(target.embeddings.patch_embedding.weight))
    target.embeddings.patch_embedding.bias.copy_(bias[0])
    log.info("The student's vision encoder has another shape: only the projected embeddings of the teacher are copied.")


def _copy_embeddings(source: BlipVisionEmbeddings, target: BlipVisionEmbeddings) -> None:
    """Copy all embeddings, without the patch embedding if only one of the two has a stem."""
    state = source.state_dict()
    if type(source.patch_embedding) is not type(target.patch_embedding):
        own = target.state_dict()
        state = {name: own[name] if name.startswith("patch_embedding.") else state[name] for name in own}
        log.info("The student's patch embedding has another type than the teacher's: it is initialised randomly.")
    target.load_state_dict(state)


def _start_text(teacher: BlipForConditionalGeneration, student: BlipForConditionalGeneration) -> None:
    source, target = teacher.text_decoder, student.text_decoder
    if _shape(teacher.config.text_config) == _shape(student.config.text_config):
        target.cls.load_state_dict(source.cls.state_dict())  # first, as it may share weights with the embeddings
        target.bert.embeddings.LayerNorm.load_state_dict(source.bert.embeddings.LayerNorm.state_dict())
        _copy_layers(source.bert.encoder.layer, target.bert.encoder.layer, "text")
    else:
        log.info(
            "The student's text decoder has another shape: only the projected embeddings of the teacher are copied."
        )
    embeddings = source.bert.embeddings
    count = target.config.max_position_embeddings
    words, positions = _project(
        [embeddings.word_embeddings.weight, embeddings.position_embeddings.weight[:count]], target.config.hidden_size
    )
    target.bert.embeddings.word_embeddings.weight.copy_(words)
    target.bert.embeddings.position_embeddings.weight[: len(positions)].copy_(positions)


def _shape(config: object) -> tuple[int, ...]:
    """The shape that two encoders or decoders must share to exchange layers."""
    names = ("hidden_size", "intermediate_size", "num_attention_heads", "encoder_hidden_size", "patch_size")
    return tuple(getattr(config, name, 0) for name in names)


def _copy_layers(source: torch.nn.ModuleList, target: torch.nn.ModuleList, part: str) -> None:
    indices = evenly_spaced(len(source), min(len(source), len(target)))
    for index, layer in zip(indices, target[len(target) - len(indices) :], strict=True):
        layer.load_state_dict(source[index].state_dict())
    log.info("The student's last %s layers start from the teacher's %s.", part, ", ".join(map(str, indices)))


def _project(rows: list[torch.Tensor], width: int) -> list[torch.Tensor]:
    """Project tables of rows [n, w] on the singular vectors of their `width` largest singular values: [n, width] each.

    If `width` is larger than w, the rows are padded with zeros.
    """
    if width == rows[0].shape[1]:
        return rows
    table = torch.cat(rows).double()
    _, directions = torch.linalg.eigh(table.T @ table)  # columns in ascending order of eigenvalues
    projected = (table @ directions.flip(1)[:, :width]).to(rows[0].dtype)
    projected = torch.nn.functional.pad(projected, (0, width - projected.shape[1]))
    return list(projected.split([len(row) for row in rows]))
