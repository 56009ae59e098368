"""Data set formats of the flag `--data FORMAT:PATHS`: COCO, Karpathy's split of it, JSON lines, WebDataset shards.

coco:CAPTIONS.json:IMAGES               COCO's caption file, and the folder or uncompressed .tar of its images
karpathy:PART:dataset_coco.json:IMAGES  the train (with restval, 113,287 of COCO), val or test part of Karpathy's split
jsonl:FILE                              lines {"image", "captions"} with paths relative to the file
wds:'shards-{000000..000009}.tar'       WebDataset shards of .jpg + .json or .txt, or a folder of such files

Paths may contain colons, as in `C:\\captions.json`. Two paths are split at the colon that has an existing file before
it and an existing file or folder after it; if several colons qualify, the data set is refused. `--captions` and
`--images` give COCO's two paths separately.

Shards are read by an index of their headers, not as a stream. So every image can be read by its index, and order,
split and resume are exact for any number of loader processes.
"""

from __future__ import annotations

import argparse
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from training.data import readers
from training.data.images import CaptionedImage, DataError

#: The formats of `--data`, for its help text.
FORMATS = "coco:J:D, karpathy:PART:J:D, jsonl:FILE or wds:SHARDS"
NEEDED = f"--data is needed: {FORMATS}."
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
#: A drive letter, which ends at a colon, at the beginning of a Windows path.
_DRIVE = re.compile(r"(?:^|:)[A-Za-z]$")


@dataclass(frozen=True)
class CocoFiles:
    """Pair of `--captions` and `--images`: a caption file in COCO's layout, and the folder or .tar of its images."""

    captions: Path
    images: Path

    def __str__(self) -> str:
        return f"coco:{self.captions}:{self.images}"


#: A data set as given on the command line. Convert it by `str` for messages.
Source = str | CocoFiles


def add_flags(parser: argparse.ArgumentParser) -> None:
    """Add `--data`, `--captions` and `--images` to the parser."""
    parser.add_argument("--data", action="extend", nargs="+", default=[], help=f"data sets: {FORMATS}; repeatable")
    parser.add_argument("--captions", type=Path, nargs="+", default=[], help="COCO caption files")
    parser.add_argument("--images", type=Path, nargs="+", default=[], help="folder or .tar for each caption file")


def sources(data: Sequence[str], captions: Sequence[Path], images: Sequence[Path]) -> tuple[Source, ...]:
    """All data sets of the three flags. Raises `DataError` when captions and images do not pair."""
    if len(captions) != len(images):
        raise DataError("Give as many --images as --captions.")
    return (*data, *map(CocoFiles, captions, images))


def read(data: Sequence[Source]) -> list[CaptionedImage]:
    """The captioned images of several data sets, in order. Raises `DataError`, as `read_each` does."""
    return [image for images in read_each(data) for image in images]


def read_each(data: Sequence[Source]) -> list[list[CaptionedImage]]:
    """The captioned images of each data set.

    Raises `DataError` for an unreadable data set, for no data set, for a data set without a caption, and when two
    images have the same id. Ids are compared as strings, because JSON keys and file names are strings.
    """
    if not data:
        raise DataError(NEEDED)
    found: list[list[CaptionedImage]] = []
    by_id: dict[str, CaptionedImage] = {}
    for source in data:
        read_images = _read_one(source)
        for image in read_images:
            other = by_id.setdefault(str(image.id), image)
            if other is not image:
                raise DataError(
                    f"{source} has an id twice, or an id of another data set; one of them must change: "
                    f"{other.id!r} is {other.file_name} in {other.source.path}, and {image.id!r} is "
                    f"{image.file_name} in {image.source.path}."
                )
        captioned = [image for image in read_images if image.captions]
        if not captioned:
            raise DataError(f"{source}: none of its {len(read_images)} images has a caption.")
        found.append(captioned)
    return found


def _read_one(source: Source) -> list[CaptionedImage]:
    if isinstance(source, CocoFiles):
        return readers.coco(source.captions, source.images)
    kind, _, paths = source.partition(":")
    part, _, part_paths = paths.partition(":")
    if kind == "coco" and (splits := _splits(paths)):
        return readers.coco(*_best_split(splits, source))
    if kind == "karpathy" and part in readers.PARTS and (splits := _splits(part_paths)):
        return readers.karpathy(part, *_best_split(splits, source))
    if kind == "jsonl" and paths:
        return readers.json_lines(Path(paths))
    if kind == "wds" and paths:
        return readers.shards(_expand(paths))
    raise DataError(f"{source} is not a data set. Use {FORMATS}, where PART is train, val or test.")


def _splits(paths: str) -> list[tuple[str, str]]:
    """All splits of two paths at a colon."""
    colons = (position for position, character in enumerate(paths) if character == ":")
    return [(paths[:at], paths[at + 1 :]) for at in colons if 0 < at < len(paths) - 1]


def _best_split(splits: Sequence[tuple[str, str]], source: str) -> tuple[Path, Path]:
    """The split whose two paths exist, else the most likely one, so that the reader reports the missing path.

    Raises `DataError` when several splits are equally likely.
    """
    tests: tuple[Callable[[str, str], bool], ...] = (
        lambda file, images: os.path.isfile(file) and os.path.exists(images),
        lambda file, images: os.path.isfile(file),
        lambda file, images: not (_DRIVE.search(file) and images[0] in "\\/"),
        lambda file, images: True,
    )
    best = next(best for test in tests if (best := [split for split in splits if test(*split)]))
    if len(best) > 1:
        shown = "; ".join(f"{file} with {images}" for file, images in best)
        raise DataError(
            f"{source} is ambiguous, as its paths contain colons: {shown}. Check the paths, or rename one; for COCO's "
            "layout, --captions and --images give them separately."
        )
    return Path(best[0][0]), Path(best[0][1])


def _expand(shards: str) -> list[Path]:
    """Expand a range: `shards-{000000..000009}.tar` is ten files. A name without braces is one file."""
    match = _RANGE.search(shards)
    if not match:
        return [Path(shards)]
    first, last = match[1], match[2]
    numbers = range(int(first), int(last) + 1)
    if not numbers:
        raise DataError(f"wds:{shards} has no shards, as {last} is less than {first}.")
    return [Path(shards[: match.start()] + str(n).zfill(len(first)) + shards[match.end() :]) for n in numbers]
