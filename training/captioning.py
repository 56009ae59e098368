"""Captions for whole data sets, in batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from tqdm import tqdm
from transformers import BlipForConditionalGeneration, PreTrainedTokenizerFast

from captioning.engine import Caption, Engine, Precision, Search
from captioning.preprocessing import Preprocessing
from captioning.student import preprocessing_of
from training.data.images import CaptionedImage, ImageId, readable


def caption_images(
    model: BlipForConditionalGeneration,
    tokenizer: PreTrainedTokenizerFast,
    pictures: Sequence[CaptionedImage],
    *,
    beams: int,
    max_length: int,
    batch_size: int,
    precision: Precision = "fp32",
    stopped: Callable[[], bool] = lambda: False,
) -> dict[ImageId, str]:
    """The best caption of each picture, by its id; one that cannot be decoded is named and has none.

    It ends early, with what it has, when `stopped` says so before a batch.
    """
    engine, search = Engine(model, tokenizer, precision), Search(beams=beams, max_length=max_length)
    preprocessing = preprocessing_of(model.config)
    found = captioned_by(lambda pixels: engine.caption(pixels, search), pictures, preprocessing, batch_size, stopped)
    return {picture.id: best.text for picture, best in found}


def captioned_by(
    caption: Callable[[torch.Tensor], list[list[Caption]]],
    pictures: Sequence[CaptionedImage],
    preprocessing: Preprocessing,
    batch_size: int,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[CaptionedImage, Caption]]:
    """Each picture that can be decoded, with what `caption` ranks first for it; that gets pixels [B, 3, S, S]."""
    loaded = readable(pictures)
    with tqdm(total=len(pictures), desc="captioning", unit="picture", mininterval=5) as progress:
        while not stopped() and (batch := list(islice(loaded, batch_size))):
            ranked = caption(torch.from_numpy(np.stack([preprocessing.pixels(image) for _, image in batch])))
            for (picture, _), (best, *_) in zip(batch, ranked, strict=True):
                yield picture, best
            progress.update(len(batch))
