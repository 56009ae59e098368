"""The model as the peers use it: transformers' `generate` in their own process."""

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
    """Loads the model and captions with the service's settings."""

    def __init__(self) -> None:
        self._settings = Settings()
        self._student = load_student(self._settings.model, processor=self._settings.processor)

    def __call__(self, files: Sequence[bytes]) -> list[str]:
        """Caption a batch of image files."""
        settings, student = self._settings, self._student
        images = (decode(file, settings.max_pixels) for file in files)
        pixels = torch.from_numpy(np.stack([student.preprocessing.pixels(image) for image in images]))
        captions = generate(
            student.model,
            student.tokenizer,
            pixels,
            beams=settings.beams,
            max_length=settings.max_length,
            min_length=settings.min_length,
        )
        return [best.text for best, *_ in captions]


def port() -> int:
    """The TCP port that a peer listens on."""
    return int(os.environ["BENCHMARK_PORT"])
