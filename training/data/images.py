"""Captioned images and the folders or tars that contain them. Imports no torch, so that preparing data needs none."""

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

#: Maximum number of pixels. Training images are trusted; the limit is for damaged headers.
MAX_PIXELS = 200_000_000
#: Number of images that a warning lists by name.
MAX_LISTED = 3

log = logging.getLogger(__name__)


#: Id of an image in its data set.
ImageId = int | str


class DataError(Exception):
    """Captions or images cannot be used. The message is a sentence that says why."""


class UnreadableImage(Exception):
    """An image is missing or cannot be decoded. The message is a sentence that says which and why."""


@dataclass(frozen=True)
class CaptionedImage:
    """An image with its reference captions."""

    id: ImageId
    file_name: str
    source: ImageSource
    captions: tuple[str, ...]

    def load(self) -> Image.Image:
        """Decode to RGB, with EXIF orientation applied. Raises `UnreadableImage`."""
        try:
            return decode(self.source.read(self.file_name), MAX_PIXELS)
        except (DataError, Problem) as error:
            raise UnreadableImage(f"{self.file_name} in {self.source.path} is skipped: {error}") from error


def checked_id(value: object) -> ImageId:
    """Validate an id from a file: an integer or a non-empty string. Raises `ValueError` for anything else."""
    if isinstance(value, float) and value.is_integer():  # table programs write integers as floats if a column has gaps
        return int(value)
    if isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise ValueError(f"{value!r} is not an id: it must be an integer or a string")
    return value


class ImageSource:
    """Read image files by name from a folder or an uncompressed tar. Raises `DataError` if `path` is neither."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._members: dict[str, tuple[int, int]] = {}
        self._full_names: dict[str, str] = {}
        if path.is_file():
            try:
                with tarfile.open(path, "r:") as tar:
                    for member in tar:
                        if member.isfile():
                            self._members[member.name] = (member.offset_data, member.size)
                            self._full_names.setdefault(PurePosixPath(member.name).name, member.name)
            except tarfile.ReadError as error:
                raise DataError(f"{path} is not an uncompressed tar. Unpack it and give the folder.") from error
        elif not path.is_dir():
            raise DataError(f"There is no folder or tar of images at {path}.")

    def names(self) -> list[str]:
        """Names of all files: in the order of the tar, or sorted paths relative to the folder."""
        if self.path.is_file():
            return list(self._members)
        return sorted(path.relative_to(self.path).as_posix() for path in self.path.rglob("*") if path.is_file())

    def size(self, file_name: str) -> int:
        """Size of the file in bytes. Raises `DataError` for a missing file."""
        return self._member(file_name)[1] if self.path.is_file() else self._file(file_name).stat().st_size

    def read(self, file_name: str) -> bytes:
        """The file's content. Raises `DataError` for a missing file."""
        if not self.path.is_file():
            return self._file(file_name).read_bytes()
        offset, size = self._member(file_name)
        # The tar is opened for each read. That is fast compared with decoding, and keeps no file handles of
        # thousands of shards open.
        with self.path.open("rb") as file:
            file.seek(offset)
            return file.read(size)

    def _file(self, file_name: str) -> Path:
        for name in (file_name, _with_slashes(file_name)):
            if (path := self.path / name).is_file():
                return path
        raise self._missing(file_name)

    def _member(self, file_name: str) -> tuple[int, int]:
        name = file_name if file_name in self._members else _with_slashes(file_name)
        # COCO's caption files have names without a folder, its tars have names with one.
        entry = self._members.get(name) or self._members.get(self._full_names.get(PurePosixPath(name).name, ""))
        if entry is None:
            raise self._missing(file_name)
        return entry

    def _missing(self, file_name: str) -> DataError:
        return DataError(f"There is no image {file_name} in {self.path}.")


def readable(images: Sequence[CaptionedImage]) -> Iterator[tuple[CaptionedImage, Image.Image]]:
    """Each image that can be decoded, with its decoded form. Others are logged once and skipped."""
    for image in images:
        try:
            decoded = image.load()
        except UnreadableImage as error:
            _warn_once(str(error))
            continue
        yield image, decoded


def split(
    images: Sequence[CaptionedImage], fraction: float, seed: int
) -> tuple[list[CaptionedImage], list[CaptionedImage]]:
    """Split the images randomly into two disjoint lists; the first has `fraction` of them."""
    order = list(images)
    random.Random(seed).shuffle(order)
    cut = round(len(order) * fraction)
    return order[:cut], order[cut:]


def limited(images: Sequence[CaptionedImage], limit: int, seed: int) -> list[CaptionedImage]:
    """A random sample of at most `limit` images; all images if `limit` is 0."""
    if not limit or len(images) <= limit:
        return list(images)
    return random.Random(seed).sample(list(images), limit)


def warn_of_overlap(train: Sequence[CaptionedImage], val: Sequence[CaptionedImage]) -> list[CaptionedImage]:
    """Return the images of `val` that are also in `train`, and warn of them.

    Two images are the same if they share a caption and either id or file name (ids alone may coincide, as many data
    sets count from 1), or if their files are equal byte by byte. Only files of equal size are read.
    """
    keys = {key: image.id for image in val for key in identity_keys(image)}
    shared = {keys[key] for image in train for key in identity_keys(image) if key in keys}
    by_size: defaultdict[int, list[CaptionedImage]] = defaultdict(list)
    for image in val:
        if image.id not in shared:
            by_size[_size(image)].append(image)
    digests = {_digest(p) for p in train if (size := _size(p)) and size in by_size}
    shared |= {p.id for size, group in by_size.items() if size for p in group if _digest(p) in digests}
    overlap = [image for image in val if image.id in shared]
    if overlap:
        log.warning(
            "%d of the %d validation images are also training images (%s%s), so their scores mean little. Remove them "
            "from one of the sets.",
            len(overlap),
            len(val),
            ", ".join(image.file_name for image in overlap[:MAX_LISTED]),
            " …" if len(overlap) > MAX_LISTED else "",
        )
    return overlap


def identity_keys(image: CaptionedImage) -> Iterator[tuple[ImageId, str]]:
    """Keys that identify an image across data sets: its id and its file name, each combined with every caption."""
    name = PurePosixPath(image.file_name).name
    return ((key, caption) for key in (image.id, name) for caption in image.captions)


def _with_slashes(file_name: str) -> str:
    """Replace the backslashes of file names from Windows."""
    return file_name.replace("\\", "/")


def _size(image: CaptionedImage) -> int:
    try:
        return image.source.size(image.file_name)
    except DataError:
        return 0


def _digest(image: CaptionedImage) -> bytes:
    return hashlib.sha256(image.source.read(image.file_name)).digest()


@cache
def _warn_once(sentence: str) -> None:
    log.warning("%s", sentence)
