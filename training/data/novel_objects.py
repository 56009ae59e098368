"""Examples of objects that captions rarely name, but that a hybrid's stem knows from ImageNet."""

from __future__ import annotations

import hashlib
import random
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from PIL import Image

from training.data.images import CaptionedImage, UnreadableImage

#: The objects' names, classes and places.
FILE = Path(__file__).with_suffix(".toml")
#: Objects that the captions of so many images name are learnt from these images.
ENOUGH_IMAGES = 100
#: Maximum number of sentences of an example.
MAX_SENTENCES = 3
#: In sentences, the object with its article, and without.
WITH_ARTICLE, NAME = "{}", "{name}"


@dataclass(frozen=True)
class NovelObject(CaptionedImage):
    """Sentences about an object, and what `training.synthesis` makes its stem features of. It has no pixels.

    The features are those of `background` with an object of ImageNet's `classes` in the place of what shows the classes
    `replaced`; if there are none, in a random part.
    """

    background: CaptionedImage
    classes: tuple[int, ...]
    replaced: tuple[int, ...]

    def load(self) -> Image.Image:
        """Raise `UnreadableImage`."""
        raise UnreadableImage(f"{self.id} has no pixels.")


def novel_objects(images: Sequence[CaptionedImage], count: int) -> list[NovelObject]:
    """`count` examples of each object that the captions of fewer than `ENOUGH_IMAGES` of the images name.

    Objects whose place no image shows have none. An image that occurs several times counts once. The examples depend
    only on the images, so that runs share their features.
    """
    if not count:
        return []
    content = tomllib.loads(FILE.read_text(encoding="utf-8"))
    texts = {image: "\n".join(image.captions) for image in {image.id: image for image in images}.values()}
    places = {name: _Place(entry, texts) for name, entry in content["places"].items()}
    return [
        example
        for name, entry in content["objects"].items()
        if sum(bool(_any_of([name]).search(text)) for text in texts.values()) < ENOUGH_IMAGES
        for example in places[entry["place"]].examples(name, _classes(entry["classes"]), count)
    ]


class _Place:
    """A place of the file: the images that can be a background, and the sentences about an object in them."""

    def __init__(self, entry: Mapping[str, Any], texts: Mapping[CaptionedImage, str]) -> None:
        self._sentences: list[str] = entry["sentences"]
        names = _any_of(entry["words"])
        self._images = [image for image, text in texts.items() if names.search(text)]
        self._others: list[tuple[CaptionedImage, list[str]]] = []
        self._replaced: tuple[int, ...] = ()
        if other := entry.get("instead"):
            self._replaced = _classes(other["classes"])
            self._others = [(image, found) for image in texts if (found := _without(image, other["name"]))]

    def examples(self, name: str, classes: tuple[int, ...], count: int) -> Iterator[NovelObject]:
        """`count` examples of an object; none if no image shows the place."""
        rng = random.Random(name)
        for number in range(count if self._images else 0):
            replaced: tuple[int, ...] = ()
            if self._others and number % 2:
                background, sentences = rng.choice(self._others)
                replaced = self._replaced
            else:
                background = rng.choice(self._images)
                sentences = rng.sample(self._sentences, min(MAX_SENTENCES, len(self._sentences)))
            said = (text.replace(WITH_ARTICLE, _with_article(name)).replace(NAME, name) for text in sentences)
            # Features are cached by id and file name, so these must depend on all that the features depend on.
            inputs = repr((background.id, background.file_name, classes, replaced, rng.random()))
            identity = f"novel object {name} {number} {hashlib.sha256(inputs.encode()).hexdigest()[:16]}"
            yield NovelObject(
                id=identity,
                file_name=identity,
                source=background.source,
                captions=tuple(said),
                background=background,
                classes=classes,
                replaced=replaced,
            )


def _any_of(names: Sequence[str]) -> re.Pattern[str]:
    """A pattern that finds one of the names, in the singular or with an s."""
    return re.compile(rf"\b(?:{'|'.join(names)})s?\b", re.IGNORECASE)


def _without(image: CaptionedImage, name: str) -> list[str]:
    """The captions with a mark in the place of `name`; none unless most captions name one and none names several."""
    if any(re.search(rf"\b{name}s\b", caption, re.IGNORECASE) for caption in image.captions):
        return []
    one = re.compile(rf"\b(an?|the) ((?:\w+ ){{0,3}}?){name}\b", re.IGNORECASE)
    found = [
        one.sub(lambda match: f"{match[1]} {match[2]}{NAME}" if match[2] else WITH_ARTICLE, caption)
        for caption in image.captions
        if len(one.findall(caption)) == 1
    ]
    return found if len(found) > len(image.captions) / 2 else []


def _with_article(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _classes(text: str) -> tuple[int, ...]:
    """The numbers of a text such as "281-285, 290"."""
    ranges = ([int(number) for number in part.split("-")] for part in text.split(","))
    return tuple(number for each in ranges for number in range(each[0], each[-1] + 1))
