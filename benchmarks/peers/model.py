"""The model as the peers use it: transformers' `generate`, resident in their process."""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
import torch

from benchmarks.reference import generate
from captioning.student import load_student
from common.images.decoding import decode
from common.settings import Settings


class Generate:
    """Captions with the settings of the service."""

    def __init__(self) -> None:
        self._settings = Settings()
        self._student = load_student(self._settings.model, processor=self._settings.processor)

    def __call__(self, pictures: Sequence[bytes]) -> list[str]:
        settings, student = self._settings, self._student
        images = (decode(picture, settings.max_pixels) for picture in pictures)
        pixels = torch.from_numpy(np.stack([student.preprocessing.pixels(image) for image in images]))
        found = generate(
            student.model,
            student.tokenizer,
            pixels,
            beams=settings.beams,
            max_length=settings.max_length,
            min_length=settings.min_length,
        )
        return [best.text for best, *_ in found]


def port() -> int:
    """Where a peer listens."""
    return int(os.environ["BENCHMARK_PORT"])
