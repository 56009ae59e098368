"""Data augmentation: random crop, horizontal flip and colour jitter."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterable

from PIL import Image, ImageEnhance, ImageOps

#: Minimum area of a crop, relative to the image, and maximum change of its aspect ratio.
MIN_AREA, MAX_STRETCH = 0.4, 4 / 3
#: Brightness, contrast and saturation change by at most this factor, up or down.
COLOUR_JITTER = 0.3
_SIDES = re.compile(r"\b(left|right)\b")


def augment_image(image: Image.Image, size: int, rng: random.Random, *, mirror: bool) -> Image.Image:
    """A random view of an RGB image, `size` x `size` pixels; flipped half of the time if `mirror`."""
    width, height = image.size
    area = rng.uniform(MIN_AREA, 1) * width * height
    ratio = math.exp(rng.uniform(-math.log(MAX_STRETCH), math.log(MAX_STRETCH))) * width / height
    crop_width, crop_height = min(width, math.sqrt(area * ratio)), min(height, math.sqrt(area / ratio))
    left, top = rng.uniform(0, width - crop_width), rng.uniform(0, height - crop_height)
    box = (left, top, left + crop_width, top + crop_height)
    view = image.resize((size, size), Image.Resampling.BICUBIC, box=box)
    if rng.random() < 0.5 and mirror:
        view = ImageOps.mirror(view)
    for enhancer in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        view = enhancer(view).enhance(rng.uniform(1 - COLOUR_JITTER, 1 + COLOUR_JITTER))
    return view


def allows_mirroring(captions: Iterable[str]) -> bool:
    """Whether no caption mentions left or right, so that the image may be flipped."""
    return not any(_SIDES.search(text.lower()) for text in captions)
