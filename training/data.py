"""Pictures and captions in COCO's own layout: a JSON of captions beside a folder, or a tar, of pictures."""

from __future__ import annotations

import json
import os
import random
import re
import tarfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import Dataset
from transformers import PreTrainedTokenizerFast

from common.images import decode
from common.pixels import normalise, squash
from training.tokenizer import clean

#: Longest caption in tokens, start and end included; BLIP trains with 40.
MAX_TOKENS = 40
#: Augmented pictures are squashed to 9/8 of the side and cropped back to it.
CROP_MARGIN = 9 / 8
#: Brightness is scaled by at most this much either way.
BRIGHTNESS = 0.2
#: Decoded pictures are kept in memory when the whole set is smaller than this, in bytes.
MEMORY = 2 * 2**30
#: Training pictures are trusted, but a number must stop a broken one.
MAX_PIXELS = 200_000_000
_SIDES = re.compile(r"\b(left|right)\b")


class DataError(Exception):
    """Captions or pictures that cannot be used; the message says why, in a sentence."""


@dataclass(frozen=True)
class Picture:
    """One picture and what people wrote of it."""

    id: int
    file_name: str
    source: ImageSource
    captions: tuple[str, ...]


class ImageSource:
    """The bytes of pictures by file name, from a folder or out of an uncompressed tar."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._members: dict[str, tuple[int, int]] = {}
        self._file: tuple[int, int] | None = None
        if path.is_file():
            try:
                with tarfile.open(path, "r:") as tar:
                    for member in tar:
                        self._members[Path(member.name).name] = (member.offset_data, member.size)
            except tarfile.ReadError as error:
                raise DataError(f"{path} is no uncompressed tar. Unpack it and name the folder.") from error
        elif not path.is_dir():
            raise DataError(f"There is neither a folder nor a tar of pictures at {path}.")

    def read(self, file_name: str) -> bytes:
        """The file's bytes; raises `DataError` for one that is not there."""
        try:
            if not self._members:
                return (self._path / file_name).read_bytes()
            offset, size = self._members[file_name]
        except (FileNotFoundError, KeyError) as error:
            raise DataError(f"There is no picture {file_name} in {self._path}.") from error
        return os.pread(self._descriptor(), size, offset)

    def _descriptor(self) -> int:
        # One descriptor for each process: a loader's worker is forked, and pread needs no position.
        if self._file is None or self._file[0] != os.getpid():
            self._file = (os.getpid(), os.open(self._path, os.O_RDONLY))
        return self._file[1]


def read_coco(captions: Sequence[Path], images: Sequence[Path]) -> list[Picture]:
    """The pictures of several caption files, in their order; those without a caption are left out.

    Raises `DataError`, also when two files give the same id to a picture.
    """
    pictures: list[Picture] = []
    taken: set[int] = set()
    for json_path, image_path in zip(captions, images, strict=True):
        source = ImageSource(image_path)
        try:
            listing = json.loads(json_path.read_text(encoding="utf-8"))
            by_picture: dict[int, list[str]] = {}
            for annotation in listing["annotations"]:
                by_picture.setdefault(annotation["image_id"], []).append(annotation["caption"].strip())
            names = {entry["id"]: entry["file_name"] for entry in listing["images"]}
        except FileNotFoundError as error:
            raise DataError(f"There is no caption file {json_path}.") from error
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{json_path} is not in COCO's layout: `images` with `annotations`.") from error
        if not taken.isdisjoint(names):
            raise DataError(f"{json_path} numbers its pictures as another caption file does; one of them must change.")
        taken |= names.keys()
        pictures += [
            Picture(number, name, source, tuple(by_picture[number]))
            for number, name in names.items()
            if number in by_picture
        ]
    return pictures


def split(pictures: Sequence[Picture], fraction: float, seed: int) -> tuple[list[Picture], list[Picture]]:
    """A seeded split by picture, so that no picture is on both sides."""
    order = list(pictures)
    random.Random(seed).shuffle(order)
    cut = round(len(order) * fraction)
    return order[:cut], order[cut:]


def limited(pictures: Sequence[Picture], limit: int, seed: int) -> list[Picture]:
    """`limit` of the pictures, drawn with `seed` when there are more; all of them for 0."""
    if not limit or len(pictures) <= limit:
        return list(pictures)
    return random.Random(seed).sample(list(pictures), limit)


@dataclass(frozen=True)
class Sample:
    """One picture, float32 [3, S, S], and the token ids of the captions chosen for it."""

    pixels: NDArray[np.float32]
    captions: list[list[int]]


class ImageCaptionDataset(Dataset[Sample]):
    """Pictures with captions as tensors. A sample depends only on (seed, epoch, index), so a resume is exact."""

    def __init__(
        self,
        pictures: Sequence[Picture],
        tokenizer: PreTrainedTokenizerFast,
        image_size: int,
        *,
        captions_per_image: int = 1,
        random_captions: bool = False,
        augment: bool = False,
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

    def set_epoch(self, epoch: int) -> None:
        """The epoch that decides captions and augmentation."""
        self._epoch = epoch

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, index: int) -> Sample:
        draw = random.Random(f"{self._seed}-{self._epoch}-{index}")
        tokens = self._tokens[index]
        count = min(self._captions_per_image, len(tokens))
        chosen = draw.sample(range(len(tokens)), count) if self._random_captions else range(count)
        levels = self._levels(index)
        if self._augment:
            sided = any(_SIDES.search(self.pictures[index].captions[i].lower()) for i in chosen)
            return Sample(self._augmented(levels, draw, flip=not sided), [tokens[i] for i in chosen])
        return Sample(normalise(levels), [tokens[i] for i in chosen])

    def _levels(self, index: int) -> NDArray[np.uint8]:
        if self._decoded is not None and index in self._decoded:
            return self._decoded[index]
        picture = self.pictures[index]
        levels = squash(decode(picture.source.read(picture.file_name), MAX_PIXELS), self._side)
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
    """`pixels` float32 [B, 3, S, S]; `tokens` int64 [N, L], padded; `owner` int64 [N]: whose caption it is."""

    pixels: torch.Tensor
    tokens: torch.Tensor
    owner: torch.Tensor

    def to(self, device: torch.device) -> Batch:
        return Batch(self.pixels.to(device), self.tokens.to(device), self.owner.to(device))


@dataclass(frozen=True)
class Collate:
    """Samples to a batch; a picture with several captions is there once."""

    pad_id: int

    def __call__(self, samples: list[Sample]) -> Batch:
        captions = [torch.tensor(ids) for sample in samples for ids in sample.captions]
        owner = [number for number, sample in enumerate(samples) for _ in sample.captions]
        return Batch(
            torch.from_numpy(np.stack([sample.pixels for sample in samples])),
            torch.nn.utils.rnn.pad_sequence(captions, batch_first=True, padding_value=self.pad_id),
            torch.tensor(owner),
        )
