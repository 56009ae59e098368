"""Teachers: `OnlineTeacher` runs the model on every batch, `CachedTeacher` caches its top-K predictions on disk."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from captioning.student import Student
from training.config import Config
from training.data.dataset import Batch, real_tokens
from training.data.images import CaptionedImage
from training.forward import Forward
from training.losses import TopK
from training.teacher_cache import TeacherCache, cache_key

log = logging.getLogger("training")


@dataclass(frozen=True)
class TeacherOutput:
    """Predictions for the real tokens of a batch: logits [tokens, V] or `TopK`, and the image states if computed."""

    logits: torch.Tensor | TopK
    states: torch.Tensor | None


class Teacher(Protocol):
    """Predicts the real tokens of a batch, in the order of `Batch.positions`."""

    def predict(self, batch: Batch) -> TeacherOutput: ...

    def flush(self) -> None:
        """Write cached predictions to disk, so that a killed process loses none."""


class OnlineTeacher:
    """Runs the model on every batch, on the same pixels as the student, augmented or not."""

    def __init__(self, teacher: Student, config: Config) -> None:
        precision = config.teacher_precision if config.teacher_precision != "same" else config.precision
        device = teacher.model.device
        if precision == "bf16" or (precision == "auto" and device.type == "cuda"):
            teacher.model.to(torch.bfloat16)
        self._forward = Forward(teacher.model)

    @torch.inference_mode()
    def predict(self, batch: Batch) -> TeacherOutput:
        pixels = batch.pixels if batch.for_teacher is None else batch.for_teacher
        pixels = pixels.to(self._forward.model.dtype)
        return TeacherOutput(*self._forward(replace(batch, pixels=pixels)))

    def flush(self) -> None:
        pass


class CachedTeacher:
    """Runs the model only for captions that are not in the cache yet.

    Predictions are for the image without augmentation, even if the student's image is augmented, as predictions for
    every possible crop and flip cannot be stored. `plain` returns an image's pixels, float32 [3, S, S], by its index;
    None if the batches hold such pixels already.
    """

    def __init__(
        self,
        teacher: OnlineTeacher,
        cache: TeacherCache,
        images: list[CaptionedImage],
        plain: Callable[[int], NDArray[np.float32]] | None,
        temperature: float,
        pad_id: int,
    ) -> None:
        self._teacher, self._cache, self._plain = teacher, cache, plain
        self._names = [f"{image.id}/{image.file_name}" for image in images]
        self._temperature, self._pad_id = temperature, pad_id
        # Tokens predicted since the last `flush`, and the summed probability mass outside their top K.
        self._predicted, self._rest_mass = 0, 0.0

    def predict(self, batch: Batch) -> TeacherOutput:
        lengths = (batch.tokens != self._pad_id).sum(dim=1).tolist()
        captions = [row[:length] for row, length in zip(batch.tokens.tolist(), lengths, strict=True)]
        owners = batch.owner.tolist()
        keys = [
            cache_key(self._names[batch.indices[owner]], caption)
            for owner, caption in zip(owners, captions, strict=True)
        ]
        missing = [number for number, key in enumerate(keys) if key not in self._cache]
        if missing:
            self._fill(batch, missing, owners, [keys[number] for number in missing])
        return TeacherOutput(self._cache.get(keys, batch.pixels.device), None)

    def flush(self) -> None:
        self._cache.write()
        if self._predicted:
            log.info(
                "Cached the teacher's predictions for %d tokens; the top %d words of each hold %.0f%% of the "
                "probability.",
                self._predicted,
                self._cache.top_k,
                100 * (1 - self._rest_mass / self._predicted),
            )
            self._predicted, self._rest_mass = 0, 0.0

    def _fill(self, batch: Batch, missing: list[int], owners: list[int], keys: list[bytes]) -> None:
        """Run the model on the `missing` captions of the batch and their images, and cache its predictions."""
        images = sorted({owners[number] for number in missing})
        pixels = batch.pixels[images]
        if self._plain is not None:
            plain = np.stack([self._plain(batch.indices[image]) for image in images])
            pixels = torch.from_numpy(plain).to(pixels.device)
        owner = torch.tensor([images.index(owners[number]) for number in missing])
        indices = tuple(batch.indices[image] for image in images)
        tokens = batch.tokens[missing]
        part = Batch(pixels, tokens, owner, indices, *real_tokens(tokens, self._pad_id))
        logits = self._teacher.predict(part).logits
        assert isinstance(logits, torch.Tensor)
        rows = self._cache.rows(logits, self._temperature)
        self._predicted += len(rows)
        self._rest_mass += float(np.exp(rows["values"][:, -1], dtype=np.float64).sum())
        ends = (tokens[:, 1:] != self._pad_id).sum(dim=1).cumsum(0).tolist()
        for key, first, end in zip(keys, [0, *ends], ends, strict=False):
            self._cache.add(key, rows[first:end].copy())


def make_teacher(
    teacher: Student, config: Config, images: list[CaptionedImage], plain: Callable[[int], NDArray[np.float32]]
) -> Teacher:
    """The teacher that `--teacher-logits` selects."""
    online = OnlineTeacher(teacher, config)
    if config.teacher_logits == "online":
        return online
    tokenizer = teacher.tokenizer.backend_tokenizer.to_str()
    vocabulary = teacher.model.config.text_config.vocab_size
    inputs = {
        "teacher": f"{config.teacher} {teacher.version}" if teacher.version.startswith("hub:") else teacher.version,
        "tokenizer": hashlib.sha256(tokenizer.encode()).hexdigest(),
        "preprocessing": str(teacher.preprocessing),
        "temperature": config.temperature,
        "arithmetic": str(teacher.model.dtype),
    }
    cache = TeacherCache(config.teacher_cache, inputs, vocabulary)
    return CachedTeacher(
        online,
        cache,
        images,
        plain if config.augment else None,
        config.temperature,
        teacher.tokenizer.pad_token_id,
    )
