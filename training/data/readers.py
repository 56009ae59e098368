"""One reader per data set format. A reader returns captioned images or raises `DataError`.

A caption that is empty or not a string, such as `null`, is skipped, and a warning counts these. Any other invalid
entry is refused with its line or number in the file.
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
from training.data.textfiles import decode_text, read_json, read_text

#: The parts of Karpathy's split, and the values of `split` that belong to them.
PARTS = {"train": {"train", "restval"}, "val": {"val"}, "test": {"test"}}
#: File extensions of images in shards.
EXTENSIONS = ("jpg", "jpeg", "png", "webp")
#: Bits of an id derived from a name. Such an id stays exact in JSON, where numbers are doubles.
ID_BITS = 48

_COCO = "in COCO's layout, `images` with `annotations`"
_KARPATHY = "a file of Karpathy's split, `images` with `split` and `sentences`"

log = logging.getLogger(__name__)


def coco(path: Path, image_folder: Path) -> list[CaptionedImage]:
    """Read COCO's caption file: `images` with `id` and `file_name`, `annotations` with `image_id` and `caption`."""
    listing = read_json(path)
    source = ImageSource(image_folder)
    captions = _coco_captions(listing, path)
    names: dict[ImageId, str] = {}
    for number, entry in enumerate(_list(listing, "images", path, _COCO), start=1):
        try:
            image, name = checked_id(entry["id"]), _text(entry["file_name"])
        except (KeyError, TypeError, ValueError) as error:
            raise _refused(path, _COCO, f"entry {number} of `images` has no `id` with a `file_name`") from error
        if names.setdefault(image, name) != name:
            raise DataError(f"{path} gives the id {image!r} to {names[image]} and to {name}.")
    if not names.keys() & captions.keys():
        count = sum(map(len, captions.values()))
        raise DataError(
            f"{path} has {len(names)} images and {count} captions, and no id in common{_difference(captions, names)}."
        )
    if unlisted := sum(len(texts) for image, texts in captions.items() if image not in names):
        log.warning("%d captions in %s are skipped, as they belong to images that it does not list.", unlisted, path)
    return [CaptionedImage(image, name, source, tuple(captions.get(image, ()))) for image, name in names.items()]


def coco_captions(path: Path) -> dict[ImageId, list[str]]:
    """The captions of COCO's caption file by image id. Raises `DataError` for a file without captions."""
    captions = _coco_captions(read_json(path), path)
    if not captions:
        raise DataError(f"{path} has no captions.")
    return captions


def karpathy(part: str, path: Path, image_folder: Path) -> list[CaptionedImage]:
    """Read one part of Karpathy's split."""
    source = ImageSource(image_folder)
    texts = CaptionFilter(path)
    result = []
    parts: Counter[str] = Counter()
    for number, entry in enumerate(_list(read_json(path), "images", path, _KARPATHY), start=1):
        location = f"entry {number} of `images`"
        try:
            parts[entry["split"]] += 1
            if entry["split"] not in PARTS[part]:
                continue
            image = checked_id(entry["cocoid"] if "cocoid" in entry else entry["imgid"])
            name = str(PurePosixPath(entry.get("filepath", ""), entry["filename"]))
            captions = texts.select((sentence["raw"] for sentence in entry["sentences"]), location)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            reason = f"{location} has no usable `split`, `cocoid` or `imgid`, `filename` and `sentences`"
            raise _refused(path, _KARPATHY, reason) from error
        result.append(CaptionedImage(image, name, source, captions))
    texts.warn()
    if not result:
        raise DataError(f"{path} has no image of the part {part}. Its parts: {_counts(parts)}.")
    return result


def json_lines(path: Path) -> list[CaptionedImage]:
    """Read a JSON lines file. The captions of several lines with the same image are joined."""
    source = ImageSource(path.parent)
    texts = CaptionFilter(path)
    by_name: dict[str, _Lines] = {}
    owners: dict[str, str] = {}
    for number, line in enumerate(io.StringIO(read_text(path), newline=None), start=1):
        if not line.strip():
            continue
        try:
            entry = json.loads(line)
            name = _text(entry["image"])
            captions = entry["captions"] if "captions" in entry else [entry["caption"]]
            given = None if entry.get("id") is None else checked_id(entry["id"])
            captions = texts.select([] if captions is None else _as_list(captions), f"line {number}")
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DataError(f'Line {number} of {path} is not {{"image": PATH, "captions": [TEXT, …]}}.') from error
        owner = owners.setdefault(str(given), name) if given is not None else name
        if owner != name:
            raise DataError(
                f"Lines {by_name[owner].first} and {number} of {path} give the id {given!r} to two images, {owner} and "
                f"{name}."
            )
        lines = by_name.setdefault(name, _Lines(number, given))
        if given is not None and given != lines.id:
            raise DataError(
                f"Line {number} of {path} gives {name} the id {given!r}, and line {lines.first} gave it "
                f"{'none' if lines.id is None else repr(lines.id)}."
            )
        lines.captions += captions
    texts.warn()
    if not by_name:
        raise DataError(f"{path} has no lines.")
    return [
        CaptionedImage(_hashed_id(path, name) if lines.id is None else lines.id, name, source, tuple(lines.captions))
        for name, lines in by_name.items()
    ]


def shards(paths: Sequence[Path]) -> list[CaptionedImage]:
    """Read WebDataset shards, or folders with the same files."""
    images: list[CaptionedImage] = []
    extensions: Counter[str] = Counter()
    for path in paths:
        source = ImageSource(path)
        names = source.names()
        extensions.update(PurePosixPath(name).suffix.lower() or "no extension" for name in names)
        images += _shard(source, names)
    location = str(paths[0]) if len(paths) == 1 else f"{paths[0]} … {paths[-1]}"
    if not images:
        raise DataError(
            f"{location}: no file ends in .{', .'.join(EXTENSIONS)}. "
            f"Files by extension: {_counts(extensions) or 'none'}."
        )
    if not any(image.captions for image in images):
        raise DataError(
            f"{location}: none of {len(images)} images has captions in a .json (`captions` or `caption`) or a .txt of "
            f"the same name. Files by extension: {_counts(extensions)}."
        )
    return images


class CaptionFilter:
    """Select the usable captions of a file, and count the others."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._count = 0
        self._skipped: list[str] = []

    def select(self, values: Iterable[Any], location: str) -> tuple[str, ...]:
        """The non-blank strings among `values`, stripped. `location` tells the warning where the values are."""
        texts = []
        for value in values:
            self._count += 1
            if isinstance(value, str) and value.strip():
                texts.append(_replace_surrogates(value.strip()))
            else:
                self._skipped.append(location)
        return tuple(texts)

    def warn(self) -> None:
        """Log how many captions were skipped, if any."""
        if self._skipped:
            log.warning(
                "%d of the %d captions in %s are skipped, as they are empty or not text; the first is in %s.",
                len(self._skipped),
                self._count,
                self._path,
                self._skipped[0],
            )


@dataclass
class _Lines:
    """The lines of one image: number of the first line, the id given there, and the captions of all lines."""

    first: int
    id: ImageId | None
    captions: list[str] = field(default_factory=list)


def _coco_captions(listing: Any, path: Path) -> dict[ImageId, list[str]]:
    texts = CaptionFilter(path)
    by_image: dict[ImageId, list[str]] = {}
    for number, annotation in enumerate(_list(listing, "annotations", path, _COCO), start=1):
        location = f"entry {number} of `annotations`"
        try:
            image, caption = checked_id(annotation["image_id"]), annotation["caption"]
        except (KeyError, TypeError, ValueError) as error:
            raise _refused(path, _COCO, f"{location} has no `image_id` with a `caption`") from error
        by_image.setdefault(image, []).extend(texts.select([caption], location))
    texts.warn()
    return {image: captions for image, captions in by_image.items() if captions}


def _shard(shard: ImageSource, names: Iterable[str]) -> list[CaptionedImage]:
    """The samples of a shard: files with the same name and different extensions, as in WebDataset."""
    texts = CaptionFilter(shard.path)
    samples: dict[str, dict[str, str]] = {}
    for name in names:
        folder, _, base = name.rpartition("/")
        key, _, extension = base.partition(".")
        samples.setdefault(f"{folder}/{key}", {})[extension.lower()] = name
    result = []
    for key, files in samples.items():
        images = [files[extension] for extension in files if extension in EXTENSIONS]
        if not images:
            continue
        location = key.lstrip("/")
        about: dict[str, Any] = {}
        try:
            if "json" in files:
                about = json.loads(decode_text(shard.read(files["json"]), files["json"]))
            captions = about.get("captions") or about.get("caption") or []
            if not captions and "txt" in files:
                captions = decode_text(shard.read(files["txt"]), files["txt"]).splitlines()
            captions = texts.select([captions] if isinstance(captions, str) else _as_list(captions), location)
            image = _hashed_id(shard.path, key) if about.get("id") is None else checked_id(about["id"])
        except (AttributeError, DataError, TypeError, ValueError) as error:
            raise DataError(f"The captions of {location} in {shard.path} cannot be read: {error}") from error
        result.append(CaptionedImage(image, images[0], shard, captions))
    texts.warn()
    return result


def _list(listing: Any, name: str, path: Path, layout: str) -> list[Any]:
    value = listing.get(name) if isinstance(listing, dict) else None
    if not isinstance(value, list):
        raise _refused(path, layout, f"it has no list `{name}`")
    return value


def _refused(path: Path, layout: str, reason: str) -> DataError:
    return DataError(f"{path} is not {layout}: {reason}.")


def _difference(captions: Iterable[ImageId], image_folder: Iterable[ImageId]) -> str:
    """How the ids of captions differ from those of images: by type, or else an example of each."""
    of_captions, of_images = list(captions), list(image_folder)
    if not of_captions or not of_images:
        return ""
    kinds = [{"text" if isinstance(value, str) else "numbers" for value in ids} for ids in (of_captions, of_images)]
    if kinds[0] != kinds[1]:
        shown = [" and ".join(sorted(kind)) for kind in kinds]
        return f": ids are {shown[0]} in `annotations` and {shown[1]} in `images`"
    return f": the first are {of_captions[0]!r} in `annotations` and {of_images[0]!r} in `images`"


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} ({count})" for name, count in counts.items())


def _text(value: Any) -> str:
    """The value. Raises `ValueError` unless it is a non-empty string."""
    if not isinstance(value, str) or not value:
        raise ValueError(f"{value!r} is not a name")
    return value


def _as_list(captions: Any) -> list[Any]:
    if not isinstance(captions, list):
        raise TypeError("a list of captions is expected")
    return captions


def _replace_surrogates(text: str) -> str:
    """Replace lone surrogates (such as a single `\\ud83d` in JSON), which tokenizers do not accept."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _hashed_id(path: Path, name: str) -> int:
    """Id of an image without one. It stays the same when the data set is moved together with its folder."""
    digest = hashlib.sha256(
        f"{path.absolute().parent.name}/{path.name}:{name}".encode("utf-8", "surrogatepass")
    ).digest()
    return int.from_bytes(digest[: ID_BITS // 8])
