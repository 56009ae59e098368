"""Caption whole data sets in batches."""

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
    images: Sequence[CaptionedImage],
    *,
    beams: int,
    max_length: int,
    batch_size: int,
    precision: Precision = "fp32",
    stopped: Callable[[], bool] = lambda: False,
) -> dict[ImageId, str]:
    """The best caption of each image by its id. Unreadable images are logged and left out.

    `stopped` is called before each batch; when it returns True, the captions so far are returned.
    """
    engine, search = Engine(model, tokenizer, precision), Search(beams=beams, max_length=max_length)
    preprocessing = preprocessing_of(model.config)
    captioned = best_captions(lambda pixels: engine.caption(pixels, search), images, preprocessing, batch_size, stopped)
    return {image.id: caption.text for image, caption in captioned}


def best_captions(
    caption: Callable[[torch.Tensor], list[list[Caption]]],
    images: Sequence[CaptionedImage],
    preprocessing: Preprocessing,
    batch_size: int,
    stopped: Callable[[], bool] = lambda: False,
) -> Iterator[tuple[CaptionedImage, Caption]]:
    """Each readable image with its best caption. `caption` takes pixels [B, 3, S, S] and ranks captions per image."""
    loaded = readable(images)
    with tqdm(total=len(images), desc="captioning", unit="image", mininterval=5) as progress:
        while not stopped() and (batch := list(islice(loaded, batch_size))):
            ranked = caption(torch.from_numpy(np.stack([preprocessing.pixels(decoded) for _, decoded in batch])))
            for (image, _), (best, *_) in zip(batch, ranked, strict=True):
                yield image, best
            progress.update(len(batch))
