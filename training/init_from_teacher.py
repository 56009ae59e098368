"""A student that starts from its teacher: evenly spaced layers, and what does not fit in width by its main directions.

Layers are chosen as Distil-Whisper chooses them (Gandhi et al. 2023, arXiv 2311.00430). Embeddings of another width
are the teacher's in the directions in which they differ most, a truncated singular value decomposition; positions and
words are added in the model, so they share their directions. A student with more layers than its teacher has the
teacher's last. All else keeps its random start.
"""

from __future__ import annotations

import logging

import numpy as np
import torch
from transformers import BlipForConditionalGeneration
from transformers.models.blip.modeling_blip import BlipVisionEmbeddings

from captioning.student.stem import HybridPatches

log = logging.getLogger("training")


def evenly(teacher_layers: int, student_layers: int) -> list[int]:
    """The teacher's layers that a student of as many or fewer starts from; the last one always among them."""
    chosen = np.linspace(0, teacher_layers - 1, student_layers, dtype=int)
    chosen[-1] = teacher_layers - 1
    return [int(number) for number in chosen]


@torch.no_grad()
def start_from(teacher: BlipForConditionalGeneration, student: BlipForConditionalGeneration) -> None:
    """Put the teacher's weights into a student on the same device, in place, as far as they fit; says what it did."""
    _start_vision(teacher, student)
    _start_text(teacher, student)


def _start_vision(teacher: BlipForConditionalGeneration, student: BlipForConditionalGeneration) -> None:
    of, to = teacher.vision_model, student.vision_model
    if _shape(teacher.config.vision_config) == _shape(student.config.vision_config):
        _start_embeddings(of.embeddings, to.embeddings)
        to.post_layernorm.load_state_dict(of.post_layernorm.state_dict())
        _copy_layers(of.encoder.layers, to.encoder.layers, "vision")
        return
    if isinstance(of.embeddings.patch_embedding, HybridPatches):
        log.info("The student's vision tower has another shape than the teacher's and no stem: it starts at random.")
        return
    whole = [of.embeddings.class_embedding, of.embeddings.position_embedding]
    patches = of.embeddings.patch_embedding  # [width, 3, patch, patch], one direction of the width for each pixel
    rows = [each.flatten(0, 1) for each in whole] + [patches.weight.flatten(1).T, patches.bias[None]]
    classes, positions, pixels, bias = _narrowed(rows, to.config.hidden_size)
    to.embeddings.class_embedding.copy_(classes[None])
    to.embeddings.position_embedding.copy_(positions[None])
    to.embeddings.patch_embedding.weight.copy_(pixels.T.view_as(to.embeddings.patch_embedding.weight))
    to.embeddings.patch_embedding.bias.copy_(bias[0])
    log.info("The student's vision tower has another shape: only its embeddings are the teacher's, narrowed.")


def _start_embeddings(of: BlipVisionEmbeddings, to: BlipVisionEmbeddings) -> None:
    """All embeddings, but not the patches' where one of the two has a stem and the other has none."""
    state = of.state_dict()
    if type(of.patch_embedding) is not type(to.patch_embedding):
        own = to.state_dict()
        state = {name: own[name] if name.startswith("patch_embedding.") else state[name] for name in own}
        log.info("The student's patches are others than the teacher's: their embedding starts at random.")
    to.load_state_dict(state)


def _start_text(teacher: BlipForConditionalGeneration, student: BlipForConditionalGeneration) -> None:
    of, to = teacher.text_decoder, student.text_decoder
    if _shape(teacher.config.text_config) == _shape(student.config.text_config):
        to.cls.load_state_dict(of.cls.state_dict())  # before the embeddings, with which it may share its weights
        to.bert.embeddings.LayerNorm.load_state_dict(of.bert.embeddings.LayerNorm.state_dict())
        _copy_layers(of.bert.encoder.layer, to.bert.encoder.layer, "text")
    else:
        log.info("The student's text decoder has another shape: only its embeddings are the teacher's, narrowed.")
    embeddings = of.bert.embeddings
    count = to.config.max_position_embeddings
    words, positions = _narrowed(
        [embeddings.word_embeddings.weight, embeddings.position_embeddings.weight[:count]], to.config.hidden_size
    )
    to.bert.embeddings.word_embeddings.weight.copy_(words)
    to.bert.embeddings.position_embeddings.weight[: len(positions)].copy_(positions)


def _shape(config: object) -> tuple[int, ...]:
    """What two towers must share for their layers to be exchangeable."""
    names = ("hidden_size", "intermediate_size", "num_attention_heads", "encoder_hidden_size", "patch_size")
    return tuple(getattr(config, name, 0) for name in names)


def _copy_layers(of: torch.nn.ModuleList, to: torch.nn.ModuleList, tower: str) -> None:
    chosen = evenly(len(of), min(len(of), len(to)))
    for number, layer in zip(chosen, to[len(to) - len(chosen) :], strict=True):
        layer.load_state_dict(of[number].state_dict())
    log.info("The student's last %s layers start from the teacher's %s.", tower, ", ".join(map(str, chosen)))


def _narrowed(rows: list[torch.Tensor], width: int) -> list[torch.Tensor]:
    """Tables of rows [n, w] by their coordinates in the `width` directions that tell most of them, [n, width] each.

    These are the singular vectors of the largest singular values. A wider table than the teacher's ends in zeros.
    """
    if width == rows[0].shape[1]:
        return rows
    table = torch.cat(rows).double()
    _, directions = torch.linalg.eigh(table.T @ table)  # in columns, the most telling last
    kept = (table @ directions.flip(1)[:, :width]).to(rows[0].dtype)
    kept = torch.nn.functional.pad(kept, (0, width - kept.shape[1]))
    return list(kept.split([len(each) for each in rows]))
