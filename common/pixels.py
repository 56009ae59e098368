"""A picture as the numbers a BLIP sees; equal to BLIP's processor, without torch or torchvision."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from PIL import Image

#: CLIP's mean and standard deviation of red, green and blue, as in BLIP's processor.
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], dtype=np.float32).reshape(3, 1, 1)
STD = np.array([0.26862954, 0.26130258, 0.27577711], dtype=np.float32).reshape(3, 1, 1)


def to_pixels(image: Image.Image, size: int) -> NDArray[np.float32]:
    """Squash an RGB picture to `size` x `size`, bicubic; float32 [3, size, size], normalised."""
    return normalise(squash(image, size))


def squash(image: Image.Image, size: int) -> NDArray[np.uint8]:
    """Squash an RGB picture to `size` x `size`, bicubic; uint8 [3, size, size]."""
    resized = image.resize((size, size), Image.Resampling.BICUBIC)
    return np.asarray(resized, dtype=np.uint8).transpose(2, 0, 1)


def normalise(levels: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Grey levels 0..255, [3, H, W], to CLIP's mean and deviation."""
    return (levels.astype(np.float32) / np.float32(255) - MEAN) / STD
