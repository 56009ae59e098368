"""Images and captions as tensors: samples that depend only on seed, epoch and index, and their batches."""

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

from captioning.preprocessing import Preprocessing, resize
from training.data.augment import allows_mirroring, augment_image
from training.data.images import CaptionedImage, DataError, ImageId, UnreadableImage
from training.tokenizer import clean

#: Maximum caption length in tokens, including start and end. BLIP trains with 40.
MAX_TOKENS = 40
#: Decoded images are cached in memory if the whole data set takes fewer bytes than this.
MAX_CACHE_BYTES = 2 * 2**30
#: Training fails after this many unreadable images in a row.
MAX_UNREADABLE_RUN = 100

#: Returns the cached stem features of a view, given the name of the view.
Features = Callable[[str], NDArray[np.float16]]

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """One image, the token ids of its selected captions, and its index in the data set.

    `pixels` is float32 [3, S, S], or the output of the frozen part of the student's stem, [channels, h, w].
    `for_teacher` is the output of the teacher's whole stem, if it is cached.
    """

    pixels: NDArray[np.float32]
    captions: list[list[int]]
    index: int
    for_teacher: NDArray[np.float32] | None = None


class ImageCaptionDataset(Dataset[Sample]):
    """Captioned images as tensors. A sample depends only on (seed, epoch, index), so a resumed run is exact.

    An unreadable image is replaced by the next readable one and its captions. Checking all images beforehand would
    take minutes at every start, and the replacement follows from the data alone.
    """

    def __init__(
        self,
        images: Sequence[CaptionedImage],
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
        self.images = images
        self._preprocessing = preprocessing
        self._captions_per_image = captions_per_image
        self._random_captions = random_captions
        self._augment = augment
        self._views = views
        self._features: Features | None = None
        self._teacher_features: Features | None = None
        self._seed = seed
        self._epoch = 0
        fits = len(images) * 3 * preprocessing.size**2 < MAX_CACHE_BYTES
        self._decoded: dict[int, NDArray[np.uint8]] | None = {} if keep_in_memory and fits and not augment else None
        self._tokens = [[encode(tokenizer, text) for text in image.captions] for image in images]
        self._pseudo = {image_id: encode(tokenizer, text) for image_id, text in (pseudo or {}).items()}
        self._pseudo_fraction = pseudo_fraction
        # Shared with the data loader's processes of all epochs, so that each unreadable image is logged once.
        self._logged = torch.zeros(len(images), dtype=torch.bool).share_memory_()

    def set_epoch(self, epoch: int) -> None:
        """Set the epoch, which decides captions and augmentation."""
        self._epoch = epoch

    def use_features(self, features: Features) -> None:
        """Return cached stem features instead of pixels. `features` raises `KeyError` for an unreadable image."""
        self._features = features

    def use_teacher_features(self, features: Features) -> None:
        """Return cached features of the teacher's stem beside the pixels, as in `use_features`."""
        self._teacher_features = features

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> Sample:
        rng = random.Random(f"{self._seed}-{self._epoch}-{index}")
        index, (pixels, for_teacher) = self._load_readable(index)
        image, tokens = self.images[index], self._tokens[index]
        count = min(self._captions_per_image, len(tokens))
        selected = rng.sample(range(len(tokens)), count) if self._random_captions else range(count)
        captions = [tokens[number] for number in selected]
        if image.id in self._pseudo:
            pseudo = self._pseudo[image.id]
            captions = [pseudo if rng.random() < self._pseudo_fraction else caption for caption in captions]
        return Sample(pixels, captions, index, for_teacher)

    def plain(self, index: int) -> NDArray[np.float32]:
        """Pixels of an image without augmentation, float32 [3, S, S], preprocessed as in the worker."""
        return self._preprocessing.normalise(self._resized(index))

    def view(self, index: int, view: int) -> NDArray[np.float32]:
        """Pixels of a view of an image, float32 [3, S, S]. View 0 is the image without augmentation."""
        return self._augmented(index, view_name(self.images[index], view)) if view else self.plain(index)

    def _load_readable(self, index: int) -> tuple[int, tuple[NDArray[np.float32], NDArray[np.float32] | None]]:
        """Index and pixels of the image, or of the first readable image after it. Raises `DataError`."""
        for offset in range(min(MAX_UNREADABLE_RUN, len(self))):
            candidate = (index + offset) % len(self)
            try:
                return candidate, self._load(candidate)
            except UnreadableImage as error:
                if not self._logged[candidate]:
                    self._logged[candidate] = True
                    log.warning("%s", error)
        raise DataError(
            f"{offset + 1} images in a row cannot be read, starting with {self.images[index].file_name} in "
            f"{self.images[index].source.path}. Check that captions and images belong together."
        )

    def _load(self, index: int) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Pixels or stem features of an image in this epoch, and the teacher's features if they are cached."""
        if self._augment and not self._views:
            return self._augmented(index, f"{self._seed}-{self._epoch}-{index}"), None
        view = (self._epoch + index) % self._views if self._augment else 0
        pixels = self._cached(self._features, index, view)
        for_teacher = self._cached(self._teacher_features, index, view)
        return self.view(index, view) if pixels is None else pixels, for_teacher

    def _cached(self, features: Features | None, index: int, view: int) -> NDArray[np.float32] | None:
        if features is None:
            return None
        try:
            return features(view_name(self.images[index], view)).astype(np.float32)
        except KeyError as error:  # the image was logged as unreadable when the features were computed
            raise UnreadableImage(f"{self.images[index].file_name} is skipped.") from error

    def _augmented(self, index: int, seed: str) -> NDArray[np.float32]:
        image = self.images[index]
        mirror = allows_mirroring(image.captions)
        view = augment_image(image.load(), self._preprocessing.size, random.Random(seed), mirror=mirror)
        return self._preprocessing.normalise(np.asarray(view, dtype=np.uint8).transpose(2, 0, 1))

    def _resized(self, index: int) -> NDArray[np.uint8]:
        """The image resized to uint8 [3, S, S], from memory if it is cached there."""
        if self._decoded is not None and index in self._decoded:
            return self._decoded[index]
        resized = resize(self.images[index].load(), self._preprocessing.size)
        if self._decoded is not None:
            self._decoded[index] = resized
        return resized


def view_name(image: CaptionedImage, view: int) -> str:
    """Name of a view of an image. It is the same in every data set that contains the image."""
    return f"view {view} of {image.id}/{image.file_name}"


def encode(tokenizer: PreTrainedTokenizerFast, caption: str) -> list[int]:
    """Token ids [DEC], pieces of the caption, [SEP]. Generation starts with [DEC] too."""
    pieces: list[int] = tokenizer.encode(clean(caption), add_special_tokens=False)
    return [tokenizer.bos_token_id, *pieces[: MAX_TOKENS - 2], tokenizer.sep_token_id]


def real_tokens(tokens: torch.Tensor, pad_id: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Positions and targets of the tokens [N, L] that are predicted and not padding, both int64 [tokens].

    A position is an index into the flattened predictions [N * (L - 1)]; its target is the token that follows there.
    On a GPU this waits for the device.
    """
    following = tokens[:, 1:].flatten()
    positions = (following != pad_id).nonzero().flatten()
    return positions, following[positions]


@dataclass(frozen=True)
class Batch:
    """A batch of B images with N captions.

    `pixels` is float32 [B, 3, S, S], or stem features [B, channels, h, w]. `tokens` is int64 [N, L], padded at the
    end. `owner` is int64 [N]: the index in the batch of each caption's image. It stays on the CPU, where the forward
    pass looks at it. `indices` are the B images' indices in the data set. `positions` and `targets` are the results of
    `real_tokens`, int64 [tokens].

    Sampled captions have `rewards` float32 [B, samples] and `weights` float32 [N], which scale the loss of their
    tokens. `for_teacher` holds features of the B images, which replace the pixels for the teacher.
    """

    pixels: torch.Tensor
    tokens: torch.Tensor
    owner: torch.Tensor
    indices: tuple[int, ...]
    positions: torch.Tensor
    targets: torch.Tensor
    weights: torch.Tensor | None = None
    rewards: torch.Tensor | None = None
    for_teacher: torch.Tensor | None = None

    def to(self, device: torch.device) -> Batch:
        """Copy a batch of the data loader, which has neither rewards nor weights, to `device`, except `owner`."""
        return replace(
            self,
            pixels=self.pixels.to(device),
            tokens=self.tokens.to(device),
            positions=self.positions.to(device),
            targets=self.targets.to(device),
            for_teacher=None if self.for_teacher is None else self.for_teacher.to(device),
        )


@dataclass(frozen=True)
class Collate:
    """Collate samples to a batch. An image with several captions is in it once."""

    pad_id: int

    def __call__(self, samples: list[Sample]) -> Batch:
        captions = [torch.tensor(ids) for sample in samples for ids in sample.captions]
        tokens = torch.nn.utils.rnn.pad_sequence(captions, batch_first=True, padding_value=self.pad_id)
        owner = [position for position, sample in enumerate(samples) for _ in sample.captions]
        for_teacher = [sample.for_teacher for sample in samples if sample.for_teacher is not None]
        return Batch(
            torch.from_numpy(np.stack([sample.pixels for sample in samples])),
            tokens,
            torch.tensor(owner),
            tuple(sample.index for sample in samples),
            *real_tokens(tokens, self.pad_id),
            for_teacher=torch.from_numpy(np.stack(for_teacher)) if for_teacher else None,
        )
