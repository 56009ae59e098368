"""Data sets behind one flag, `--data FORMAT:WHERE`: COCO, Karpathy's split of it, JSON lines, WebDataset shards.

coco:CAPTIONS.json:IMAGES               COCO's caption file, and the folder or uncompressed .tar of its pictures
karpathy:PART:dataset_coco.json:IMAGES  the train (with restval, 113,287 of COCO), val or test part of Karpathy's split
jsonl:FILE                              lines {"image", "captions"} with paths relative to the file
wds:'shards-{000000..000009}.tar'       WebDataset shards of .jpg + .json or .txt, or a folder of such files

Paths may contain colons, as in `C:\\captions.json`. Two paths are split at the colon that has an existing file before
it and an existing file or folder after it; where several colons have, the data set is refused. `--captions` and
`--images` give COCO's two paths separately.

Shards are read where they lie, by an index of their headers, and not as a stream: every picture can be had by its
number, so that order, split and resume are exact whatever the number of loading processes.
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

#: What `--data` takes, for its help.
FORMATS = "coco:J:D, karpathy:PART:J:D, jsonl:FILE or wds:SHARDS"
NEEDED = f"--data is needed: {FORMATS}."
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")
#: The colon of a drive's letter at the beginning of a Windows path.
_DRIVE = re.compile(r"(?:^|:)[A-Za-z]$")


@dataclass(frozen=True)
class CocoFiles:
    """A caption file in COCO's layout, and the folder or .tar of its pictures, as `--captions --images` name them."""

    captions: Path
    images: Path

    def __str__(self) -> str:
        return f"coco:{self.captions}:{self.images}"


#: A data set as the command line names it; `str` of it is for people.
Source = str | CocoFiles


def add_flags(parser: argparse.ArgumentParser) -> None:
    """`--data`, and the pair `--captions --images` for COCO's layout."""
    parser.add_argument("--data", action="extend", nargs="+", default=[], help=f"data sets: {FORMATS}; repeatable")
    parser.add_argument("--captions", type=Path, nargs="+", default=[], help="COCO caption files")
    parser.add_argument("--images", type=Path, nargs="+", default=[], help="folder or .tar for each caption file")


def sources(data: Sequence[str], captions: Sequence[Path], images: Sequence[Path]) -> tuple[Source, ...]:
    """The data sets of both ways to name them. Raises `DataError` when captions and images do not pair."""
    if len(captions) != len(images):
        raise DataError("Give as many --images as --captions.")
    return (*data, *map(CocoFiles, captions, images))


def read(data: Sequence[Source]) -> list[CaptionedImage]:
    """The pictures of several data sets, in their order; those without a caption are left out.

    Raises `DataError`, also when no data set is named, when one has no picture with a caption, and when two pictures
    have the same id. A number and the same number as text count as the same: keys of JSON and names of files are text.
    """
    if not data:
        raise DataError(NEEDED)
    pictures: list[CaptionedImage] = []
    taken: dict[str, CaptionedImage] = {}
    for source in data:
        found = _read_one(source)
        for picture in found:
            other = taken.setdefault(str(picture.id), picture)
            if other is not picture:
                raise DataError(
                    f"{source} numbers two pictures alike, or as another data set does; one of them must change: "
                    f"{other.id!r} is {other.file_name} in {other.source.path}, and {picture.id!r} is "
                    f"{picture.file_name} in {picture.source.path}."
                )
        captioned = [picture for picture in found if picture.captions]
        if not captioned:
            raise DataError(f"{source}: {len(found)} pictures, and none has a caption.")
        pictures += captioned
    return pictures


def _read_one(source: Source) -> list[CaptionedImage]:
    if isinstance(source, CocoFiles):
        return readers.coco(source.captions, source.images)
    kind, _, where = source.partition(":")
    part, _, of_part = where.partition(":")
    if kind == "coco" and (ways := _ways(where)):
        return readers.coco(*_likeliest(ways, source))
    if kind == "karpathy" and part in readers.PARTS and (ways := _ways(of_part)):
        return readers.karpathy(part, *_likeliest(ways, source))
    if kind == "jsonl" and where:
        return readers.json_lines(Path(where))
    if kind == "wds" and where:
        return readers.shards(_expanded(where))
    raise DataError(f"{source} names no data set. Write {FORMATS}, where PART is train, val or test.")


def _ways(paths: str) -> list[tuple[str, str]]:
    """Every way to split two paths at a colon."""
    colons = (place for place, character in enumerate(paths) if character == ":")
    return [(paths[:at], paths[at + 1 :]) for at in colons if 0 < at < len(paths) - 1]


def _likeliest(ways: Sequence[tuple[str, str]], source: str) -> tuple[Path, Path]:
    """The way whose two paths exist. Where none does, the most likely one, so that the reader says which path is wrong.

    Raises `DataError` when several ways are equally likely.
    """
    likely: tuple[Callable[[str, str], bool], ...] = (
        lambda file, images: os.path.isfile(file) and os.path.exists(images),
        lambda file, images: os.path.isfile(file),
        lambda file, images: not (_DRIVE.search(file) and images[0] in "\\/"),
        lambda file, images: True,
    )
    found = next(found for test in likely if (found := [way for way in ways if test(*way)]))
    if len(found) > 1:
        shown = "; ".join(f"{file} with {images}" for file, images in found)
        raise DataError(
            f"{source} can be split in several ways, as there are colons in its paths: {shown}. Check that the paths "
            "are right, or rename one; for COCO's layout, --captions and --images give them separately."
        )
    return Path(found[0][0]), Path(found[0][1])


def _expanded(shards: str) -> list[Path]:
    """`shards-{000000..000009}.tar` is ten files; a name without braces is itself."""
    found = _RANGE.search(shards)
    if not found:
        return [Path(shards)]
    first, last = found[1], found[2]
    numbers = range(int(first), int(last) + 1)
    if not numbers:
        raise DataError(f"wds:{shards} names no shard, as {last} is less than {first}.")
    return [Path(shards[: found.start()] + str(each).zfill(len(first)) + shards[found.end() :]) for each in numbers]
