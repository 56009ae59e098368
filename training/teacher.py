"""What the teacher says of a batch: asked each time, or once and then remembered on disk."""

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
from training.data.dataset import Batch
from training.data.images import CaptionedImage
from training.forward import Forward
from training.losses import TopK
from training.teacher_cache import TeacherCache, key_of

log = logging.getLogger("training")


@dataclass(frozen=True)
class TeacherOutput:
    """What the student's logits are compared with, and the states of the pictures where the teacher was asked."""

    words: torch.Tensor | TopK
    states: torch.Tensor | None


class Teacher(Protocol):
    """Answers for the real tokens of a batch, in the order of `forward.real_tokens`."""

    def answer(self, batch: Batch) -> TeacherOutput: ...

    def keep(self) -> None:
        """Make sure that a kill now loses no answer."""


class OnlineTeacher:
    """Asks the model each time; it sees the very pixels that the student sees, augmented or not."""

    def __init__(self, student: Student, config: Config) -> None:
        precision = config.teacher_precision if config.teacher_precision != "same" else config.precision
        device = student.model.device
        if precision == "bf16" or (precision == "auto" and device.type == "cuda"):
            student.model.to(torch.bfloat16)
        self._forward = Forward(student.model, student.tokenizer.pad_token_id)

    @torch.inference_mode()
    def answer(self, batch: Batch) -> TeacherOutput:
        pixels = batch.pixels if batch.for_teacher is None else batch.for_teacher
        pixels = pixels.to(self._forward.model.dtype)
        return TeacherOutput(*self._forward(replace(batch, pixels=pixels)))

    def keep(self) -> None:
        pass


class CachedTeacher:
    """Asks the model for captions that it has not seen yet, and keeps the answers.

    They are answers to the plain picture, whatever the student's augmented one looks like: an answer for each way to
    crop and flip could not be kept. `plain` gives a picture's pixels, float32 [3, S, S], by its number.
    """

    def __init__(
        self,
        teacher: OnlineTeacher,
        cache: TeacherCache,
        pictures: list[CaptionedImage],
        plain: Callable[[int], NDArray[np.float32]] | None,
        temperature: float,
        pad_id: int,
    ) -> None:
        self._teacher, self._cache, self._plain = teacher, cache, plain
        self._names = [f"{picture.id}/{picture.file_name}" for picture in pictures]
        self._temperature, self._pad_id = temperature, pad_id
        self._asked, self._unlikely = 0, 0.0  # tokens since the last `keep`, and the mass of the words not kept of them

    def answer(self, batch: Batch) -> TeacherOutput:
        lengths = (batch.tokens != self._pad_id).sum(dim=1).tolist()
        rows = [row[:length] for row, length in zip(batch.tokens.tolist(), lengths, strict=True)]
        owners = batch.owner.tolist()
        keys = [key_of(self._names[batch.numbers[owner]], row) for owner, row in zip(owners, rows, strict=True)]
        missing = [number for number, key in enumerate(keys) if key not in self._cache]
        if missing:
            self._ask(batch, missing, owners, [keys[number] for number in missing])
        return TeacherOutput(self._cache.get(keys, batch.pixels.device), None)

    def keep(self) -> None:
        self._cache.write()
        if self._asked:
            log.info(
                "Remembered the teacher's answers to %d tokens; the %d words kept of each hold %.0f%% of what it says.",
                self._asked,
                self._cache.words,
                100 * (1 - self._unlikely / self._asked),
            )
            self._asked, self._unlikely = 0, 0.0

    def _ask(self, batch: Batch, missing: list[int], owners: list[int], keys: list[bytes]) -> None:
        """Ask for some captions of the batch, with those of their pictures that are needed."""
        pictures = sorted({owners[number] for number in missing})
        pixels = batch.pixels[pictures]
        if self._plain is not None:
            plain = np.stack([self._plain(batch.numbers[picture]) for picture in pictures])
            pixels = torch.from_numpy(plain).to(pixels.device)
        owner = torch.tensor([pictures.index(owners[number]) for number in missing], device=pixels.device)
        numbers = tuple(batch.numbers[picture] for picture in pictures)
        asked = Batch(pixels, batch.tokens[missing], owner, numbers)
        words = self._teacher.answer(asked).words
        assert isinstance(words, torch.Tensor)
        kept = self._cache.rows(words, self._temperature)
        self._asked += len(kept)
        self._unlikely += float(np.exp(kept["values"][:, -1], dtype=np.float64).sum())
        counts = (asked.tokens[:, 1:] != self._pad_id).sum(dim=1).cumsum(0).tolist()
        for key, first, end in zip(keys, [0, *counts], counts, strict=False):
            self._cache.add(key, kept[first:end].copy())


def make_teacher(
    student: Student, config: Config, pictures: list[CaptionedImage], plain: Callable[[int], NDArray[np.float32]]
) -> Teacher:
    """The teacher that `--teacher-logits` asks for."""
    online = OnlineTeacher(student, config)
    if config.teacher_logits == "online":
        return online
    words = student.tokenizer.backend_tokenizer.to_str()
    vocabulary = student.model.config.text_config.vocab_size
    of = {
        "teacher": f"{config.teacher} {student.version}" if student.version.startswith("hub:") else student.version,
        "tokenizer": hashlib.sha256(words.encode()).hexdigest(),
        "preprocessing": str(student.preprocessing),
        "temperature": config.temperature,
        "arithmetic": str(student.model.dtype),
    }
    cache = TeacherCache(config.teacher_cache, of, vocabulary)
    return CachedTeacher(
        online,
        cache,
        pictures,
        plain if config.augment else None,
        config.temperature,
        student.tokenizer.pad_token_id,
    )
