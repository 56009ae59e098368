"""Captions for whole data sets, in batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from tqdm import tqdm
from transformers import BlipForConditionalGeneration, PreTrainedTokenizerFast

from common.engine import Engine, Precision, Search
from common.images import decode
from common.pixels import to_pixels
from training.data import MAX_PIXELS, Picture


def caption_pictures(
    model: BlipForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    pictures: Sequence[Picture],
    *,
    beams: int,
    max_length: int,
    batch_size: int,
    precision: Precision = "fp32",
) -> dict[int, str]:
    """The best caption of each picture, by its id."""
    size = model.config.vision_config.image_size
    engine, search = Engine(model, tokenizer, precision), Search(beams=beams, max_length=max_length)
    captions: dict[int, str] = {}
    for first in tqdm(range(0, len(pictures), batch_size), desc="captioning", unit="batch", mininterval=5):
        chosen = pictures[first : first + batch_size]
        images = (decode(picture.source.read(picture.file_name), MAX_PIXELS) for picture in chosen)
        pixels = torch.from_numpy(np.stack([to_pixels(image, size) for image in images]))
        found = engine.caption(pixels, search)
        captions |= {picture.id: best[0].text for picture, best in zip(chosen, found, strict=True)}
    return captions
