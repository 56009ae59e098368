"""Pictures with captions, and where their bytes are; light, so that what only moves pictures needs no torch."""

from __future__ import annotations

import hashlib
import logging
import random
import tarfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path, PurePosixPath

from PIL import Image

from common.images.decoding import decode
from common.problems import Problem

#: Training pictures are trusted, but a number must stop a broken one.
MAX_PIXELS = 200_000_000
#: Of a long list of pictures in a warning, so many are named.
NAMED = 3

log = logging.getLogger(__name__)


#: What numbers or names a picture in its data set.
ImageId = int | str


class DataError(Exception):
    """Captions or pictures that cannot be used; the message says why, in a sentence."""


class UnreadableImage(Exception):
    """One picture that is not there or cannot be decoded; the message says which and why, in a sentence."""


@dataclass(frozen=True)
class CaptionedImage:
    """One picture and what people wrote of it."""

    id: ImageId
    file_name: str
    source: ImageSource
    captions: tuple[str, ...]

    def load(self) -> Image.Image:
        """The picture as RGB, upright; raises `UnreadableImage`."""
        try:
            return decode(self.source.read(self.file_name), MAX_PIXELS)
        except (DataError, Problem) as error:
            raise UnreadableImage(f"{self.file_name} in {self.source.path} is left out: {error}") from error


def checked_id(value: object) -> ImageId:
    """An id that a file gives: a whole number or a text. Raises `ValueError` for anything else."""
    if isinstance(value, float) and value.is_integer():  # as tables with gaps in their columns write whole numbers
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise ValueError(f"{value!r} is not an id: it must be a whole number or a text")
    return value


class ImageSource:
    """The bytes of pictures by file name, from a folder or out of an uncompressed tar."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._members: dict[str, tuple[int, int]] = {}
        self._whole: dict[str, str] = {}
        if path.is_file():
            try:
                with tarfile.open(path, "r:") as tar:
                    for member in tar:
                        if member.isfile():
                            self._members[member.name] = (member.offset_data, member.size)
                            self._whole.setdefault(PurePosixPath(member.name).name, member.name)
            except tarfile.ReadError as error:
                raise DataError(f"{path} is no uncompressed tar. Unpack it and name the folder.") from error
        elif not path.is_dir():
            raise DataError(f"There is neither a folder nor a tar of pictures at {path}.")

    def names(self) -> list[str]:
        """Every file, by its name inside the tar, in its order, or by its path below the folder, sorted."""
        if self.path.is_file():
            return list(self._members)
        return sorted(path.relative_to(self.path).as_posix() for path in self.path.rglob("*") if path.is_file())

    def size(self, file_name: str) -> int:
        """The file's bytes, counted; raises as `read` does."""
        return self._member(file_name)[1] if self.path.is_file() else self._file(file_name).stat().st_size

    def read(self, file_name: str) -> bytes:
        """The file's bytes; raises `DataError` for one that is not there."""
        if not self.path.is_file():
            return self._file(file_name).read_bytes()
        offset, size = self._member(file_name)
        # Opened anew each time: that is quick beside decoding, and of thousands of shards none stays open.
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def _file(self, file_name: str) -> Path:
        for name in (file_name, _with_slashes(file_name)):
            if (path := self.path / name).is_file():
                return path
        raise self._lost(file_name)

    def _member(self, file_name: str) -> tuple[int, int]:
        name = file_name if file_name in self._members else _with_slashes(file_name)
        # COCO's files name no folder, and its tars have one.
        found = self._members.get(name) or self._members.get(self._whole.get(PurePosixPath(name).name, ""))
        if found is None:
            raise self._lost(file_name)
        return found

    def _lost(self, file_name: str) -> DataError:
        return DataError(f"There is no picture {file_name} in {self.path}.")


def readable(pictures: Sequence[CaptionedImage]) -> Iterator[tuple[CaptionedImage, Image.Image]]:
    """The pictures with their decoded images; one that cannot be decoded is named once and left out."""
    for picture in pictures:
        try:
            image = picture.load()
        except UnreadableImage as error:
            _say_once(str(error))
            continue
        yield picture, image


def split(
    pictures: Sequence[CaptionedImage], fraction: float, seed: int
) -> tuple[list[CaptionedImage], list[CaptionedImage]]:
    """A seeded split by picture, so that no picture is on both sides."""
    order = list(pictures)
    random.Random(seed).shuffle(order)
    cut = round(len(order) * fraction)
    return order[:cut], order[cut:]


def limited(pictures: Sequence[CaptionedImage], limit: int, seed: int) -> list[CaptionedImage]:
    """`limit` of the pictures, drawn with `seed` when there are more; all of them for 0."""
    if not limit or len(pictures) <= limit:
        return list(pictures)
    return random.Random(seed).sample(list(pictures), limit)


def warn_of_overlap(train: Sequence[CaptionedImage], val: Sequence[CaptionedImage]) -> list[CaptionedImage]:
    """The pictures of `val` that are trained on as well, named in a warning: those of the same id or file name that
    have a caption in common, as both sets may just count from 1; and those that are equal byte for byte.

    Only files of equal size are compared, so hardly any is read.
    """
    marks = {mark: picture.id for picture in val for mark in marks_of(picture)}
    shared = {marks[mark] for picture in train for mark in marks_of(picture) if mark in marks}
    by_size: defaultdict[int, list[CaptionedImage]] = defaultdict(list)
    for picture in val:
        if picture.id not in shared:
            by_size[_size(picture)].append(picture)
    digests = {_digest(p) for p in train if (size := _size(p)) and size in by_size}
    shared |= {p.id for size, group in by_size.items() if size for p in group if _digest(p) in digests}
    found = [picture for picture in val if picture.id in shared]
    if found:
        log.warning(
            "%d of the %d pictures that are scored are trained on as well (%s%s), so their scores say little. "
            "Take them out of either.",
            len(found),
            len(val),
            ", ".join(picture.file_name for picture in found[:NAMED]),
            " …" if len(found) > NAMED else "",
        )
    return found


def marks_of(picture: CaptionedImage) -> Iterator[tuple[ImageId, str]]:
    """What tells the picture from others: its id and its name, each with every caption."""
    name = PurePosixPath(picture.file_name).name
    return ((key, caption) for key in (picture.id, name) for caption in picture.captions)


def _with_slashes(file_name: str) -> str:
    """The name as it is here, when the list of pictures was made on Windows."""
    return file_name.replace("\\", "/")


def _size(picture: CaptionedImage) -> int:
    try:
        return picture.source.size(picture.file_name)
    except DataError:
        return 0


def _digest(picture: CaptionedImage) -> bytes:
    return hashlib.sha256(picture.source.read(picture.file_name)).digest()


@cache
def _say_once(sentence: str) -> None:
    log.warning("%s", sentence)
