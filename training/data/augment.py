"""Views of a picture: cut out, mirrored and coloured by chance."""

from __future__ import annotations

import math
import random
import re
from collections.abc import Iterable

from PIL import Image, ImageEnhance, ImageOps

#: What is cut out has at least this part of the picture's area, and its sides are stretched by at most so much.
LEAST_AREA, STRETCH = 0.4, 4 / 3
#: Brightness, contrast and saturation are scaled by at most this much either way.
COLOUR = 0.3
_SIDES = re.compile(r"\b(left|right)\b")


def augmented(image: Image.Image, size: int, draw: random.Random, *, mirror: bool) -> Image.Image:
    """A view of an RGB picture, `size` x `size`; one that may not be seen in a mirror keeps its sides."""
    width, height = image.size
    area = draw.uniform(LEAST_AREA, 1) * width * height
    ratio = math.exp(draw.uniform(-math.log(STRETCH), math.log(STRETCH))) * width / height
    wide, high = min(width, math.sqrt(area * ratio)), min(height, math.sqrt(area / ratio))
    left, top = draw.uniform(0, width - wide), draw.uniform(0, height - high)
    view = image.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + wide, top + high))
    if draw.random() < 0.5 and mirror:
        view = ImageOps.mirror(view)
    for change in (ImageEnhance.Brightness, ImageEnhance.Contrast, ImageEnhance.Color):
        view = change(view).enhance(draw.uniform(1 - COLOUR, 1 + COLOUR))
    return view


def may_be_mirrored(captions: Iterable[str]) -> bool:
    """Whether no caption tells left from right."""
    return not any(_SIDES.search(text.lower()) for text in captions)
