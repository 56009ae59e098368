"""Pictures and captions as tensors: samples that depend on seed, epoch and index only, and their batches."""

from __future__ import annotations

import logging
import random
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast

from common.pixels import normalise, squash
from training.pictures import DataError, Picture, PictureId, UnreadablePicture
from training.tokenizer import clean

#: Longest caption in tokens, start and end included; BLIP trains with 40.
MAX_TOKENS = 40
#: Augmented pictures are squashed to 9/8 of the side and cropped back to it.
CROP_MARGIN = 9 / 8
#: Brightness is scaled by at most this much either way.
BRIGHTNESS = 0.2
#: Decoded pictures are kept in memory when the whole set is smaller than this, in bytes.
MEMORY = 2 * 2**30
#: So many pictures in a row that cannot be read are no accident.
MOST_UNREADABLE = 100
_SIDES = re.compile(r"\b(left|right)\b")

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """One picture, float32 [3, S, S], the token ids of the captions chosen for it, and its number in the data set."""

    pixels: NDArray[np.float32]
    captions: list[list[int]]
    number: int


class ImageCaptionDataset(Dataset[Sample]):
    """Pictures with captions as tensors. A sample depends only on (seed, epoch, index), so a resume is exact.

    The place of a picture that cannot be read is taken by the next one that can, with that one's captions: trying all
    pictures beforehand would cost minutes at every start, and what stands in follows from the data alone.
    """

    def __init__(
        self,
        pictures: Sequence[Picture],
        tokenizer: PreTrainedTokenizerFast,
        image_size: int,
        *,
        captions_per_image: int = 1,
        random_captions: bool = False,
        augment: bool = False,
        pseudo: Mapping[PictureId, str] | None = None,
        pseudo_fraction: float = 0.0,
        keep_in_memory: bool = False,
        seed: int = 0,
    ) -> None:
        self.pictures = pictures
        self._size = image_size
        self._captions_per_image = captions_per_image
        self._random_captions = random_captions
        self._augment = augment
        self._seed = seed
        self._epoch = 0
        self._side = round(image_size * CROP_MARGIN) if augment else image_size
        fits = len(pictures) * 3 * self._side**2 < MEMORY
        self._decoded: dict[int, NDArray[np.uint8]] | None = {} if keep_in_memory and fits else None
        self._tokens = [[encode(tokenizer, text) for text in picture.captions] for picture in pictures]
        self._pseudo = {number: (text, encode(tokenizer, text)) for number, text in (pseudo or {}).items()}
        self._pseudo_fraction = pseudo_fraction
        # Shared with the loader's processes of all epochs, so that each unreadable picture is named once.
        self._named = torch.zeros(len(pictures), dtype=torch.bool).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """The epoch that decides captions and augmentation."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Sample:
        draw = random.Random(f"{self._seed}-{self._epoch}-{index}")
        index, levels = self._readable(index)
        picture, tokens = self.pictures[index], self._tokens[index]
        count = min(self._captions_per_image, len(tokens))
        numbers = draw.sample(range(len(tokens)), count) if self._random_captions else range(count)
        chosen = [(picture.captions[number], tokens[number]) for number in numbers]
        if picture.id in self._pseudo:
            teachers = self._pseudo[picture.id]
            chosen = [teachers if draw.random() < self._pseudo_fraction else each for each in chosen]
        captions = [each for _, each in chosen]
        if self._augment:
            sided = any(_SIDES.search(text.lower()) for text, _ in chosen)
            return Sample(self._augmented(levels, draw, flip=not sided), captions, index)
        return Sample(normalise(levels), captions, index)

    def plain(self, index: int) -> NDArray[np.float32]:
        """A picture's pixels, float32 [3, S, S], as the worker makes them: not augmented."""
        return normalise(squash(self.pictures[index].load(), self._size) if self._augment else self._levels(index))

    def _readable(self, index: int) -> tuple[int, NDArray[np.uint8]]:
        """The picture, or the first after it that can be read; its index, uint8 [3, S, S]. Raises `DataError`."""
        for tried in range(min(MOST_UNREADABLE, len(self))):
            place = (index + tried) % len(self)
            try:
                return place, self._levels(place)
            except UnreadablePicture as error:
                if not self._named[place]:
                    self._named[place] = True
                    log.warning("%s", error)
        raise DataError(
            f"{tried + 1} pictures in a row cannot be read, from {self.pictures[index].file_name} in "
            f"{self.pictures[index].source.path} on. Check that captions and pictures belong together."
        )

    def _levels(self, index: int) -> NDArray[np.uint8]:
        if self._decoded is not None and index in self._decoded:
            return self._decoded[index]
        levels = squash(self.pictures[index].load(), self._side)
        if self._decoded is not None:
            self._decoded[index] = levels
        return levels

    def _augmented(self, levels: NDArray[np.uint8], draw: random.Random, *, flip: bool) -> NDArray[np.float32]:
        margin = self._side - self._size
        top, left = draw.randint(0, margin), draw.randint(0, margin)
        crop = levels[:, top : top + self._size, left : left + self._size]
        if flip and draw.random() < 0.5:
            crop = crop[:, :, ::-1]
        brightness = np.float32(1 + draw.uniform(-BRIGHTNESS, BRIGHTNESS))
        return normalise(np.clip(crop.astype(np.float32) * brightness, 0, 255))


def encode(tokenizer: PreTrainedTokenizerFast, caption: str) -> list[int]:
    """[DEC], the caption's pieces, [SEP]: what generation starts with is what training starts with."""
    pieces: list[int] = tokenizer.encode(clean(caption), add_special_tokens=False)
    return [tokenizer.bos_token_id, *pieces[: MAX_TOKENS - 2], tokenizer.sep_token_id]


@dataclass(frozen=True)
class Batch:
    """`pixels` float32 [B, 3, S, S]; `tokens` int64 [N, L], padded; `owner` int64 [N]: whose caption it is.

    `numbers` are the B pictures' in the data set.
    """

    pixels: torch.Tensor
    tokens: torch.Tensor
    owner: torch.Tensor
    numbers: tuple[int, ...]

    def to(self, device: torch.device) -> Batch:
        return replace(self, pixels=self.pixels.to(device), tokens=self.tokens.to(device), owner=self.owner.to(device))


@dataclass(frozen=True)
class Collate:
    """Samples to a batch; a picture with several captions is there once."""

    pad_id: int

    def __call__(self, samples: list[Sample]) -> Batch:
        captions = [torch.tensor(ids) for sample in samples for ids in sample.captions]
        owner = [place for place, sample in enumerate(samples) for _ in sample.captions]
        return Batch(
            torch.from_numpy(np.stack([sample.pixels for sample in samples])),
            torch.nn.utils.rnn.pad_sequence(captions, batch_first=True, padding_value=self.pad_id),
            torch.tensor(owner),
            tuple(sample.number for sample in samples),
        )
