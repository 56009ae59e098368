"""One reader for each format of data sets: files to pictures with captions, or `DataError` with what was found.

A caption that is empty or not text, such as `null`, is left out, and a warning counts these. Any other entry that does
not follow its format is refused, with its line or number in the file.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from training.data.images import CaptionedImage, DataError, ImageId, ImageSource, checked_id
from training.data.textfiles import decoded, read_json, read_text

#: The parts of Karpathy's split, and the marks that its file gives their pictures.
PARTS = {"train": {"train", "restval"}, "val": {"val"}, "test": {"test"}}
#: Completions of the pictures in shards.
ENDINGS = ("jpg", "jpeg", "png", "webp")
#: Bits of an id made from a name: it stays exact in JSON, where numbers are doubles.
ID_BITS = 48

_COCO = "in COCO's layout, `images` with `annotations`"
_KARPATHY = "a file of Karpathy's split, `images` with `split` and `sentences`"

log = logging.getLogger(__name__)


def coco(path: Path, images: Path) -> list[CaptionedImage]:
    """The pictures of COCO's caption file: `images` with `id` and `file_name`, `annotations` with `image_id`."""
    listing = read_json(path)
    source = ImageSource(images)
    captions = _coco_captions(listing, path)
    names: dict[ImageId, str] = {}
    for number, entry in enumerate(_list(listing, "images", path, _COCO), start=1):
        try:
            picture, name = checked_id(entry["id"]), _text(entry["file_name"])
        except (KeyError, TypeError, ValueError) as error:
            raise _refused(path, _COCO, f"entry {number} of `images` has no `id` with a `file_name`") from error
        if names.setdefault(picture, name) != name:
            raise DataError(f"{path} gives the id {picture!r} to {names[picture]} and to {name}.")
    if not names.keys() & captions.keys():
        count = sum(map(len, captions.values()))
        raise DataError(
            f"{path} has {len(names)} images and {count} captions, and no id in common{_difference(captions, names)}."
        )
    if unlisted := sum(len(texts) for picture, texts in captions.items() if picture not in names):
        log.warning("%d captions in %s are of pictures that it does not list, and are left out.", unlisted, path)
    return [CaptionedImage(picture, name, source, tuple(captions.get(picture, ()))) for picture, name in names.items()]


def coco_captions(path: Path) -> dict[ImageId, list[str]]:
    """The captions of COCO's caption file by picture."""
    captions = _coco_captions(read_json(path), path)
    if not captions:
        raise DataError(f"{path} has no captions.")
    return captions


def karpathy(part: str, path: Path, images: Path) -> list[CaptionedImage]:
    """The pictures of one part of Karpathy's split."""
    source = ImageSource(images)
    texts = Captions(path)
    found = []
    parts: Counter[str] = Counter()
    for number, entry in enumerate(_list(read_json(path), "images", path, _KARPATHY), start=1):
        place = f"entry {number} of `images`"
        try:
            parts[entry["split"]] += 1
            if entry["split"] not in PARTS[part]:
                continue
            picture = checked_id(entry["cocoid"] if "cocoid" in entry else entry["imgid"])
            name = str(PurePosixPath(entry.get("filepath", ""), entry["filename"]))
            captions = texts.of((sentence["raw"] for sentence in entry["sentences"]), place)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            lacking = f"{place} has no usable `split`, `cocoid` or `imgid`, `filename` and `sentences`"
            raise _refused(path, _KARPATHY, lacking) from error
        found.append(CaptionedImage(picture, name, source, captions))
    texts.warn()
    if not found:
        raise DataError(f"{path} has no picture of the part {part}. Its parts: {_counts(parts)}.")
    return found


def json_lines(path: Path) -> list[CaptionedImage]:
    """The pictures of a file of JSON lines; several lines of one picture add up to its captions."""
    source = ImageSource(path.parent)
    texts = Captions(path)
    found: dict[str, _Lines] = {}
    owners: dict[str, str] = {}
    for number, line in enumerate(io.StringIO(read_text(path), newline=None), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            name = _text(entry["image"])
            captions = entry["captions"] if "captions" in entry else [entry["caption"]]
            given = None if entry.get("id") is None else checked_id(entry["id"])
            captions = texts.of([] if captions is None else _many(captions), f"line {number}")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(f'Line {number} of {path} is not {{"image": PATH, "captions": [TEXT, …]}}.') from error
        owner = owners.setdefault(str(given), name) if given is not None else name
        if owner != name:
            raise DataError(
                f"Lines {found[owner].first} and {number} of {path} give the id {given!r} to two pictures, {owner} and "
                f"{name}."
            )
        lines = found.setdefault(name, _Lines(number, given))
        if given is not None and given != lines.id:
            raise DataError(
                f"Line {number} of {path} gives {name} the id {given!r}, and line {lines.first} gave it "
                f"{'none' if lines.id is None else repr(lines.id)}."
            )
        lines.captions += captions
    texts.warn()
    if not found:
        raise DataError(f"{path} has no lines.")
    return [
        CaptionedImage(_number(path, name) if lines.id is None else lines.id, name, source, tuple(lines.captions))
        for name, lines in found.items()
    ]


def shards(paths: Sequence[Path]) -> list[CaptionedImage]:
    """The pictures of WebDataset shards, or of folders of such files."""
    found: list[CaptionedImage] = []
    endings: Counter[str] = Counter()
    for path in paths:
        source = ImageSource(path)
        names = source.names()
        endings.update(PurePosixPath(name).suffix.lower() or "no ending" for name in names)
        found += _shard(source, names)
    where = str(paths[0]) if len(paths) == 1 else f"{paths[0]} … {paths[-1]}"
    if not found:
        raise DataError(
            f"{where}: no file ends in .{', .'.join(ENDINGS)}. Files found, by ending: {_counts(endings) or 'none'}."
        )
    if not any(picture.captions for picture in found):
        raise DataError(
            f"{where}: {len(found)} pictures, and none with captions in a .json (`captions` or `caption`) or a .txt of "
            f"the same name. Files found, by ending: {_counts(endings)}."
        )
    return found


class Captions:
    """Selects the usable captions of a file, and counts the others."""

    def __init__(self, where: Path) -> None:
        self._where = where
        self._count = 0
        self._left_out: list[str] = []

    def of(self, values: Iterable[Any], place: str) -> tuple[str, ...]:
        """The values that are text and not blank, stripped; `place` says in a warning where the values stand."""
        texts = []
        for value in values:
            self._count += 1
            if isinstance(value, str) and value.strip():
                texts.append(_whole_characters(value.strip()))
            else:
                self._left_out.append(place)
        return tuple(texts)

    def warn(self) -> None:
        """Log how many captions were left out, if any."""
        if self._left_out:
            log.warning(
                "%d of the %d captions in %s are empty or not text, and are left out; the first is in %s.",
                len(self._left_out),
                self._count,
                self._where,
                self._left_out[0],
            )


@dataclass
class _Lines:
    """The lines of one picture: the number of the first line, the id in it, and the captions of all lines."""

    first: int
    id: ImageId | None
    captions: list[str] = field(default_factory=list)


def _coco_captions(listing: Any, path: Path) -> dict[ImageId, list[str]]:
    texts = Captions(path)
    found: dict[ImageId, list[str]] = {}
    for number, annotation in enumerate(_list(listing, "annotations", path, _COCO), start=1):
        place = f"entry {number} of `annotations`"
        try:
            picture, caption = checked_id(annotation["image_id"]), annotation["caption"]
        except (KeyError, TypeError, ValueError) as error:
            raise _refused(path, _COCO, f"{place} has no `image_id` with a `caption`") from error
        found.setdefault(picture, []).extend(texts.of([caption], place))
    texts.warn()
    return {picture: captions for picture, captions in found.items() if captions}


def _shard(shard: ImageSource, names: Iterable[str]) -> list[CaptionedImage]:
    """The samples of a shard: files of one name with different endings, by WebDataset's convention."""
    texts = Captions(shard.path)
    samples: dict[str, dict[str, str]] = {}
    for name in names:
        folder, _, base = name.rpartition("/")
        key, _, ending = base.partition(".")
        samples.setdefault(f"{folder}/{key}", {})[ending.lower()] = name
    found = []
    for key, files in samples.items():
        pictures = [files[ending] for ending in files if ending in ENDINGS]
        if not pictures:
            continue
        place = key.lstrip("/")
        about: dict[str, Any] = {}
        try:
            if "json" in files:
                about = json.loads(decoded(shard.read(files["json"]), files["json"]))
            captions = about.get("captions") or about.get("caption") or []
            if not captions and "txt" in files:
                captions = decoded(shard.read(files["txt"]), files["txt"]).splitlines()
            captions = texts.of([captions] if isinstance(captions, str) else _many(captions), place)
            picture = _number(shard.path, key) if about.get("id") is None else checked_id(about["id"])
        except (AttributeError, DataError, TypeError, ValueError) as error:
            raise DataError(f"The captions of {place} in {shard.path} cannot be read: {error}") from error
        found.append(CaptionedImage(picture, pictures[0], shard, captions))
    texts.warn()
    return found


def _list(listing: Any, name: str, path: Path, layout: str) -> list[Any]:
    found = listing.get(name) if isinstance(listing, dict) else None
    if not isinstance(found, list):
        raise _refused(path, layout, f"it has no list `{name}`")
    return found


def _refused(path: Path, layout: str, why: str) -> DataError:
    return DataError(f"{path} is not {layout}: {why}.")


def _difference(captions: Iterable[ImageId], images: Iterable[ImageId]) -> str:
    """How the ids of captions differ from those of images: in their type, or else an example of each."""
    of_captions, of_images = list(captions), list(images)
    if not of_captions or not of_images:
        return ""
    kinds = [{"text" if isinstance(each, str) else "numbers" for each in ids} for ids in (of_captions, of_images)]
    if kinds[0] != kinds[1]:
        shown = [" and ".join(sorted(kind)) for kind in kinds]
        return f": ids are {shown[0]} in `annotations` and {shown[1]} in `images`"
    return f": the first are {of_captions[0]!r} in `annotations` and {of_images[0]!r} in `images`"


def _counts(found: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in found.items())


def _text(value: Any) -> str:
    """The value, if it is a text that is not empty; else raises `ValueError`."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is not a name")
    return value


def _many(captions: Any) -> list[Any]:
    if not isinstance(captions, list):
        raise TypeError("a list of captions is expected")
    return captions


def _whole_characters(text: str) -> str:
    """The text with each lone surrogate (`\\ud83d` alone, which JSON can hold) replaced, as no tokenizer takes one."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _number(path: Path, name: str) -> int:
    """An id for a picture that has none, the same wherever the data set is moved to with its folder."""
    digest = hashlib.sha256(
        f"{path.absolute().parent.name}/{path.name}:{name}".encode("utf-8", "surrogatepass")
    ).digest()
    return int.from_bytes(digest[: ID_BITS // 8])
