"""How often an epoch shows each training image."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping, Sequence

from training.data.images import CaptionedImage, ImageId
from training.tokenizer import clean

#: Words that fewer training images have are ignored: they would be learnt from these very images by heart.
MIN_IMAGES = 5


def repeated(
    images: Sequence[CaptionedImage], repeats: Mapping[ImageId, int], rare_words: int, seed: int
) -> list[CaptionedImage]:
    """Each image as often as `repeats` says for its id, times a factor for its rarest word.

    An image has a word if most of its captions do. For a word that n < `rare_words` images have, the factor is
    sqrt(`rare_words` / n), otherwise and with 0 it is 1: LVIS' repeat factor sampling (Gupta et al. 2019, arXiv
    1908.03195, §4.3.2), with words in the place of categories. Fractions are rounded up or down at random, by `seed`.
    """
    if not rare_words:
        return [image for image in images for _ in range(repeats[image.id])]
    words = {image.id: _common_words(image) for image in images}
    counts = Counter(word for each in words.values() for word in each)
    factors = {word: math.sqrt(max(1, rare_words / count)) for word, count in counts.items() if count >= MIN_IMAGES}
    rng = random.Random(seed)
    shown = []
    for image in images:
        times = repeats[image.id] * max((factors.get(word, 1.0) for word in words[image.id]), default=1.0)
        shown += [image] * (math.floor(times) + (rng.random() < times % 1))
    return shown


def _common_words(image: CaptionedImage) -> set[str]:
    """The words that more than half of the image's captions have."""
    counts = Counter(word for caption in image.captions for word in set(clean(caption).split()))
    return {word for word, count in counts.items() if count > len(image.captions) / 2}
