"""Pictures and captions as tensors: samples that depend on seed, epoch and index only, and their batches."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast

from captioning.preprocessing import Preprocessing, squash
from training.data.augment import augmented, may_be_mirrored
from training.data.images import CaptionedImage, DataError, ImageId, UnreadableImage
from training.tokenizer import clean

#: Longest caption in tokens, start and end included; BLIP trains with 40.
MAX_TOKENS = 40
#: Decoded pictures are kept in memory when the whole set is smaller than this, in bytes.
MEMORY = 2 * 2**30
#: So many pictures in a row that cannot be read are no accident.
MOST_UNREADABLE = 100

#: What a stem makes of a view, by the view's name.
Features = Callable[[str], NDArray[np.float16]]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """One picture, the token ids of the captions chosen for it, and its number in the data set.

    `pixels` are float32 [3, S, S], or what the frozen part of a stem makes of them, [channels, h, w]; `for_teacher` is
    what the whole of the teacher's stem makes of them, where that is remembered.
    """

    pixels: NDArray[np.float32]
    captions: list[list[int]]
    number: int
    for_teacher: NDArray[np.float32] | None = None


class ImageCaptionDataset(Dataset[Sample]):
    """Pictures with captions as tensors. A sample depends only on (seed, epoch, index), so a resume is exact.

    The place of a picture that cannot be read is taken by the next one that can, with that one's captions: trying all
    pictures beforehand would cost minutes at every start, and what stands in follows from the data alone.
    """

    def __init__(
        self,
        pictures: Sequence[CaptionedImage],
        tokenizer: PreTrainedTokenizerFast,
        preprocessing: Preprocessing,
        *,
        captions_per_image: int = 1,
        random_captions: bool = False,
        augment: bool = False,
        views: int = 0,
        pseudo: Mapping[ImageId, str] | None = None,
        pseudo_fraction: float = 0.0,
        keep_in_memory: bool = False,
        seed: int = 0,
    ) -> None:
        self.pictures = pictures
        self._preprocessing = preprocessing
        self._captions_per_image = captions_per_image
        self._random_captions = random_captions
        self._augment = augment
        self._views = views
        self._features: Features | None = None
        self._for_teacher: Features | None = None
        self._seed = seed
        self._epoch = 0
        fits = len(pictures) * 3 * preprocessing.size**2 < MEMORY
        self._decoded: dict[int, NDArray[np.uint8]] | None = {} if keep_in_memory and fits and not augment else None
        self._tokens = [[encode(tokenizer, text) for text in picture.captions] for picture in pictures]
        self._pseudo = {number: encode(tokenizer, text) for number, text in (pseudo or {}).items()}
        self._pseudo_fraction = pseudo_fraction
        # Shared with the loader's processes of all epochs, so that each unreadable picture is named once.
        self._named = torch.zeros(len(pictures), dtype=torch.bool).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """The epoch that decides captions and augmentation."""
        self._epoch = epoch

    def use_features(self, features: Features) -> None:
        """Give what `features` has of a view, by its name, in the place of pixels; `KeyError` is an unreadable one."""
        self._features = features

    def use_teacher_features(self, features: Features) -> None:
        """Give what `features` has of a view, by its name, beside the pixels; `KeyError` is an unreadable one."""
        self._for_teacher = features

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Sample:
        draw = random.Random(f"{self._seed}-{self._epoch}-{index}")
        index, (pixels, for_teacher) = self._readable(index)
        picture, tokens = self.pictures[index], self._tokens[index]
        count = min(self._captions_per_image, len(tokens))
        numbers = draw.sample(range(len(tokens)), count) if self._random_captions else range(count)
        captions = [tokens[number] for number in numbers]
        if picture.id in self._pseudo:
            teachers = self._pseudo[picture.id]
            captions = [teachers if draw.random() < self._pseudo_fraction else each for each in captions]
        return Sample(pixels, captions, index, for_teacher)

    def plain(self, index: int) -> NDArray[np.float32]:
        """A picture's pixels, float32 [3, S, S], as the worker makes them: not augmented."""
        return self._preprocessing.normalise(self._levels(index))

    def view_name(self, index: int, view: int) -> str:
        """What a view of a picture is called, whatever the data set that it is in."""
        return f"view {view} of {self.pictures[index].id}/{self.pictures[index].file_name}"

    def view(self, index: int, view: int) -> NDArray[np.float32]:
        """The pixels of a view of a picture, float32 [3, S, S]; the first is the picture as it is."""
        return self._augmented(index, self.view_name(index, view)) if view else self.plain(index)

    def _readable(self, index: int) -> tuple[int, tuple[NDArray[np.float32], NDArray[np.float32] | None]]:
        """The picture, or the first after it that can be read: its index, and what this epoch shows of it.

        Raises `DataError`.
        """
        for tried in range(min(MOST_UNREADABLE, len(self))):
            place = (index + tried) % len(self)
            try:
                return place, self._shown(place)
            except UnreadableImage as error:
                if not self._named[place]:
                    self._named[place] = True
                    log.warning("%s", error)
        raise DataError(
            f"{tried + 1} pictures in a row cannot be read, from {self.pictures[index].file_name} in "
            f"{self.pictures[index].source.path} on. Check that captions and pictures belong together."
        )

    def _shown(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """What this epoch shows of a picture to the student, and what is remembered of it for the teacher."""
        if self._augment and not self._views:
            return self._augmented(index, f"{self._seed}-{self._epoch}-{index}"), None
        view = (self._epoch + index) % self._views if self._augment else 0
        pixels = self._remembered(self._features, index, view)
        for_teacher = self._remembered(self._for_teacher, index, view)
        return self.view(index, view) if pixels is None else pixels, for_teacher

    def _remembered(self, features: Features | None, index: int, view: int) -> NDArray[np.float32] | None:
        if features is None:
            return None
        try:
            return features(self.view_name(index, view)).astype(np.float32)
        except KeyError as error:  # it was named when the features were computed
            raise UnreadableImage(f"{self.pictures[index].file_name} is left out.") from error

    def _augmented(self, index: int, seed: str) -> NDArray[np.float32]:
        picture = self.pictures[index]
        mirror = may_be_mirrored(picture.captions)
        view = augmented(picture.load(), self._preprocessing.size, random.Random(seed), mirror=mirror)
        return self._preprocessing.normalise(np.asarray(view, dtype=np.uint8).transpose(2, 0, 1))

    def _levels(self, index: int) -> NDArray[np.uint8]:
        if self._decoded is not None and index in self._decoded:
            return self._decoded[index]
        levels = squash(self.pictures[index].load(), self._preprocessing.size)
        if self._decoded is not None:
            self._decoded[index] = levels
        return levels


def encode(tokenizer: PreTrainedTokenizerFast, caption: str) -> list[int]:
    """[DEC], the caption's pieces, [SEP]: what generation starts with is what training starts with."""
    pieces: list[int] = tokenizer.encode(clean(caption), add_special_tokens=False)
    return [tokenizer.bos_token_id, *pieces[: MAX_TOKENS - 2], tokenizer.sep_token_id]


@dataclass(frozen=True)
class Batch:
    """`pixels` float32 [B, 3, S, S] or a stem's features of them [B, channels, h, w]; `tokens` int64 [N, L], padded;
    `owner` int64 [N]: whose caption it is.

    `numbers` are the B pictures' in the data set. Captions that the student drew have `rewards` float32 [B, samples],
    and `weights` float32 [N], which their words' losses are multiplied by. `for_teacher` are features of the B pictures
    that the teacher takes in the place of pixels.
    """

    pixels: torch.Tensor
    tokens: torch.Tensor
    owner: torch.Tensor
    numbers: tuple[int, ...]
    weights: torch.Tensor | None = None
    rewards: torch.Tensor | None = None
    for_teacher: torch.Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        return replace(
            self,
            pixels=self.pixels.to(device),
            tokens=self.tokens.to(device),
            owner=self.owner.to(device),
            for_teacher=None if self.for_teacher is None else self.for_teacher.to(device),
        )


@dataclass(frozen=True)
class Collate:
    """Samples to a batch; a picture with several captions is there once."""

    pad_id: int

    def __call__(self, samples: list[Sample]) -> Batch:
        captions = [torch.tensor(ids) for sample in samples for ids in sample.captions]
        owner = [place for place, sample in enumerate(samples) for _ in sample.captions]
        for_teacher = [sample.for_teacher for sample in samples if sample.for_teacher is not None]
        return Batch(
            torch.from_numpy(np.stack([sample.pixels for sample in samples])),
            torch.nn.utils.rnn.pad_sequence(captions, batch_first=True, padding_value=self.pad_id),
            torch.tensor(owner),
            tuple(sample.number for sample in samples),
            for_teacher=torch.from_numpy(np.stack(for_teacher)) if for_teacher else None,
        )
