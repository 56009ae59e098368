"""The best constant caption: the score of a baseline that ignores the image."""

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

#: Number of most frequent captions and caption beginnings to try, and of images to score them on.
CANDIDATES = 200
SAMPLE_SIZE = 500
#: Lengths in words of the caption beginnings.
PREFIX_LENGTHS = range(4, 13)


def best_constant(caption_files: Sequence[Path]) -> str:
    """The frequent caption, or beginning of captions, with the best CIDEr-D on a sample of these files' images.

    `caption_files` are in COCO's layout. Raises `DataError`.
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
            counts.update({" ".join(words)} | {" ".join(words[:length]) for length in PREFIX_LENGTHS})
    sample = random.Random(0).sample(groups, min(SAMPLE_SIZE, len(groups)))
    references = [[tokenize(caption) for caption in group] for group in sample]
    candidates = [text for text, _ in counts.most_common(CANDIDATES)]
    return max(candidates, key=lambda text: cider([tokenize(text)] * len(references), references))
