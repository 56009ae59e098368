"""The best constant caption: what a model that never looks at the image can score."""

from __future__ import annotations

import random
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from training.data.images import ImageId
from training.data.readers import coco_captions
from training.metrics.cider import cider
from training.metrics.tokens import tokenize
from training.tokenizer import clean

#: The most frequent captions and fragments that are tried, and the images they are tried on.
CANDIDATES = 200
PICTURES = 500
#: Lengths, in words, of the frequent fragments that are tried beside whole captions.
FRAGMENTS = range(4, 13)


def best_constant(caption_files: Sequence[Path]) -> str:
    """Of the most frequent captions, and of the most frequent beginnings of captions, the one with the best
    CIDEr-D on a sample of these files' own images. Raises `DataError`.
    """
    by_image: defaultdict[ImageId, list[str]] = defaultdict(list)
    for path in caption_files:
        for image, captions in coco_captions(path).items():
            by_image[image] += captions
    groups = list(by_image.values())
    counts: Counter[str] = Counter()
    for group in groups:
        for caption in group:
            words = clean(caption).split()
            counts.update({" ".join(words)} | {" ".join(words[:length]) for length in FRAGMENTS})
    sample = random.Random(0).sample(groups, min(PICTURES, len(groups)))
    truths = [[tokenize(caption) for caption in group] for group in sample]
    tried = [text for text, _ in counts.most_common(CANDIDATES)]
    return max(tried, key=lambda text: cider([tokenize(text)] * len(truths), truths))
