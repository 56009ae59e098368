"""Preprocessing of images as in BLIP's processor, without torch or torchvision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: CLIP's mean and standard deviation of red, green and blue on a scale of 0 to 1, as in BLIP's processor.
CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


@dataclass(frozen=True)
class Preprocessing:
    """A model's input: side length in pixels, and each channel's mean and standard deviation on a scale of 0 to 1."""

    size: int
    mean: tuple[float, ...] = CLIP_MEAN
    std: tuple[float, ...] = CLIP_STD

    def pixels(self, image: Image.Image) -> NDArray[np.float32]:
        """Resize an RGB image (bicubic, ignoring its aspect ratio) and normalise it: float32 [3, size, size]."""
        return self.normalise(resize(image, self.size))

    def normalise(self, levels: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Normalise uint8 [3, H, W] to float32 of the same shape."""
        mean, std = (np.array(value, dtype=np.float32).reshape(3, 1, 1) for value in (self.mean, self.std))
        normalised: NDArray[np.float32] = (levels.astype(np.float32) / np.float32(255) - mean) / std
        return normalised


def resize(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Resize an RGB image to `size` x `size`, bicubic, ignoring its aspect ratio: uint8 [3, size, size]."""
    resized = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(resized, dtype=np.uint8).transpose(2, 0, 1)
