"""Data sets behind one flag, `--data FORMAT:WHERE`: COCO, Karpathy's split of it, JSON lines, WebDataset shards.

coco:CAPTIONS.json:IMAGES               COCO's caption file, and the folder or uncompressed .tar of its pictures
karpathy:PART:dataset_coco.json:IMAGES  the train (with restval, 113,287 of COCO), val or test part of Karpathy's split
jsonl:FILE                              lines {"image", "captions"} with paths relative to the file
wds:'shards-{000000..000009}.tar'       WebDataset shards of .jpg + .json or .txt, or a folder of such files

Shards are read where they lie, by an index of their headers, and not as a stream: every picture can be had by its
number, so that order, split and resume are exact whatever the number of loading processes.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from training.pictures import DataError, ImageSource, Picture

#: What `--data` takes, for its help.
FORMATS = "coco:J:D, karpathy:PART:J:D, jsonl:FILE or wds:SHARDS"
NEEDED = f"--data is needed: {FORMATS}."
#: The parts of Karpathy's split, and the marks that its file gives their pictures.
PARTS = {"train": {"train", "restval"}, "val": {"val"}, "test": {"test"}}
#: Endings of the pictures in shards.
ENDINGS = {"jpg", "jpeg", "png", "webp"}
#: Bits of an id made from a name: it stays exact in JSON, where numbers are doubles.
ID_BITS = 48
_RANGE = re.compile(r"\{(\d+)\.\.(\d+)\}")


def add_flags(parser: argparse.ArgumentParser) -> None:
    """`--data`, and the pair `--captions --images` for COCO's layout."""
    parser.add_argument("--data", action="extend", nargs="+", default=[], help=f"data sets: {FORMATS}; repeatable")
    parser.add_argument("--captions", type=Path, nargs="+", default=[], help="COCO caption files")
    parser.add_argument("--images", type=Path, nargs="+", default=[], help="folder or .tar for each caption file")


def sources(data: Sequence[str], captions: Sequence[Path], images: Sequence[Path]) -> tuple[str, ...]:
    """The data sets of both ways to name them. Raises `DataError` when captions and images do not pair."""
    if len(captions) != len(images):
        raise DataError("Give as many --images as --captions.")
    return (*data, *(f"coco:{json_path}:{place}" for json_path, place in zip(captions, images, strict=True)))


def read(data: Sequence[str]) -> list[Picture]:
    """The pictures of several data sets, in their order; those without a caption are left out.

    Raises `DataError`, also when none is named and when two sets give the same id to a picture.
    """
    if not data:
        raise DataError(NEEDED)
    pictures: list[Picture] = []
    taken: set[int] = set()
    for source in data:
        count = len(taken)
        found = list(_read_one(source))
        taken.update(picture.id for picture in found)
        if len(taken) != count + len(found):
            raise DataError(
                f"{source} numbers two pictures alike, or as another data set does; one of them must change."
            )
        pictures += [picture for picture in found if picture.captions]
    return pictures


def _read_one(source: str) -> Iterable[Picture]:
    match source.split(":"):
        case ["coco", captions, images] if captions and images:
            return _coco(Path(captions), ImageSource(Path(images)))
        case ["karpathy", part, listing, images] if part in PARTS and images:
            return _karpathy(part, Path(listing), ImageSource(Path(images)))
        case ["jsonl", path] if path:
            return _jsonl(Path(path))
        case ["wds", shards] if shards:
            return (picture for path in _expanded(shards) for picture in _shard(path))
    raise DataError(f"{source} names no data set. Write {FORMATS}, where PART is train, val or test.")


def _coco(path: Path, images: ImageSource) -> list[Picture]:
    listing = _json(path)
    try:
        by_picture: dict[int, list[str]] = {}
        for annotation in listing["annotations"]:
            by_picture.setdefault(annotation["image_id"], []).append(annotation["caption"].strip())
        names = {entry["id"]: entry["file_name"] for entry in listing["images"]}
    except (AttributeError, KeyError, TypeError) as error:
        raise DataError(f"{path} is not in COCO's layout: `images` with `annotations`.") from error
    return [Picture(number, name, images, tuple(by_picture.get(number, ()))) for number, name in names.items()]


def _karpathy(part: str, path: Path, images: ImageSource) -> list[Picture]:
    try:
        return [
            Picture(
                entry.get("cocoid", entry["imgid"]),
                str(PurePosixPath(entry.get("filepath", ""), entry["filename"])),
                images,
                tuple(sentence["raw"].strip() for sentence in entry["sentences"]),
            )
            for entry in _json(path)["images"]
            if entry["split"] in PARTS[part]
        ]
    except (AttributeError, KeyError, TypeError) as error:
        raise DataError(f"{path} is no file of Karpathy's split: `images` with `split` and `sentences`.") from error


def _jsonl(path: Path) -> Iterator[Picture]:
    folder = ImageSource(path.parent)
    try:
        with path.open(encoding="utf-8") as lines:
            for line, text in enumerate(lines, start=1):
                if not text.strip():
                    continue
                try:
                    entry = json.loads(text)
                    name, captions = entry["image"], _texts(entry["captions"])
                    number = entry["id"] if "id" in entry else _number(path, name)
                except (ValueError, KeyError, TypeError, AttributeError) as error:
                    raise DataError(
                        f'Line {line} of {path} is not {{"image": PATH, "captions": [TEXT, …]}}.'
                    ) from error
                yield Picture(number, name, folder, captions)
    except FileNotFoundError as error:
        raise DataError(f"There is no file {path}.") from error


def _shard(path: Path) -> Iterator[Picture]:
    """The samples of a shard: files of one name with different endings, by WebDataset's convention."""
    shard = ImageSource(path)
    samples: dict[str, dict[str, str]] = {}
    for name in shard.names():
        folder, _, base = name.rpartition("/")
        key, _, ending = base.partition(".")
        samples.setdefault(f"{folder}/{key}", {})[ending.lower()] = name
    for key, files in samples.items():
        pictures = [files[ending] for ending in files if ending in ENDINGS]
        if not pictures:
            continue
        about: dict[str, Any] = {}
        try:
            if "json" in files:
                about = json.loads(shard.read(files["json"]))
            texts = about.get("captions") or about.get("caption") or []
            if not texts and "txt" in files:
                texts = shard.read(files["txt"]).decode().splitlines()
            captions = _texts([texts] if isinstance(texts, str) else texts)
        except (ValueError, TypeError, AttributeError) as error:
            raise DataError(f"The captions of {key.lstrip('/')} in {path} cannot be read.") from error
        number = about.get("id")
        yield Picture(number if isinstance(number, int) else _number(path, key), pictures[0], shard, captions)


def _expanded(shards: str) -> list[Path]:
    """`shards-{000000..000009}.tar` is ten files; a name without braces is itself."""
    found = _RANGE.search(shards)
    if not found:
        return [Path(shards)]
    first, last = found[1], found[2]
    numbers = range(int(first), int(last) + 1)
    return [Path(shards[: found.start()] + str(each).zfill(len(first)) + shards[found.end() :]) for each in numbers]


def _texts(captions: Iterable[str]) -> tuple[str, ...]:
    if isinstance(captions, str):
        raise TypeError("a list of captions is expected")
    return tuple(stripped for caption in captions if (stripped := caption.strip()))


def _number(path: Path, name: str) -> int:
    """An id for a picture that has none, the same wherever the data set is moved to with its folder."""
    digest = hashlib.sha256(f"{path.absolute().parent.name}/{path.name}:{name}".encode()).digest()
    return int.from_bytes(digest[: ID_BITS // 8])


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"There is no caption file {path}.") from error
    except ValueError as error:
        raise DataError(f"{path} is no JSON file.") from error
