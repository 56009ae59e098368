"""A small data set in COCO's own layout, of pictures that are drawn."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

from tests.support.images import numbered
from training.data import formats
from training.data.images import CaptionedImage

WORDS = ("red", "green", "blue", "yellow")


def write_coco(folder: Path, count: int = 8, *, first_id: int = 100, captions: int = 2) -> tuple[Path, Path]:
    """The caption file and the folder of `count` pictures; each has `captions` captions of its own."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    listing: dict[str, list[dict[str, object]]] = {"images": [], "annotations": []}
    for number, data in enumerate(numbered(count)):
        name, picture = f"{first_id + number:012d}.jpg", first_id + number
        (images / name).write_bytes(data)
        listing["images"].append({"id": picture, "file_name": name})
        for variant in range(captions):
            text = f"A {WORDS[number % len(WORDS)]} ball lies on field {'abcdefgh'[variant]}."
            listing["annotations"].append({"id": len(listing["annotations"]), "image_id": picture, "caption": text})
    path = folder / "captions.json"
    path.write_text(json.dumps(listing), encoding="utf-8")
    return path, images


def packed(images: Path) -> Path:
    """The folder as an uncompressed tar beside it."""
    path = images.with_suffix(".tar")
    with tarfile.open(path, "w") as tar:
        tar.add(images, arcname="images")
    return path


def read_coco(captions: Path, images: Path) -> list[CaptionedImage]:
    """What `write_coco` wrote, read."""
    return formats.read([f"coco:{captions}:{images}"])
