"""A small data set of drawn images in COCO's layout."""

from __future__ import annotations

import json
import tarfile
from pathlib import Path

from tests.support.images import numbered
from training.data import formats
from training.data.images import CaptionedImage

WORDS = ("red", "green", "blue", "yellow")


def write_coco(folder: Path, count: int = 8, *, first_id: int = 100, captions: int = 2) -> tuple[Path, Path]:
    """Write `count` images with `captions` captions each. Return the caption file and the image folder."""
    image_folder = folder / "images"
    image_folder.mkdir(parents=True, exist_ok=True)
    listing: dict[str, list[dict[str, object]]] = {"images": [], "annotations": []}
    for number, data in enumerate(numbered(count)):
        name, image = f"{first_id + number:012d}.jpg", first_id + number
        (image_folder / name).write_bytes(data)
        listing["images"].append({"id": image, "file_name": name})
        for variant in range(captions):
            text = f"A {WORDS[number % len(WORDS)]} ball lies on field {'abcdefgh'[variant]}."
            listing["annotations"].append({"id": len(listing["annotations"]), "image_id": image, "caption": text})
    path = folder / "captions.json"
    path.write_text(json.dumps(listing), encoding="utf-8")
    return path, image_folder


def packed(image_folder: Path) -> Path:
    """Pack the folder into an uncompressed tar beside it. Return the tar."""
    path = image_folder.with_suffix(".tar")
    with tarfile.open(path, "w") as tar:
        tar.add(image_folder, arcname="images")
    return path


def read_coco(captions: Path, image_folder: Path) -> list[CaptionedImage]:
    """Read the data set that `write_coco` wrote."""
    return formats.read([f"coco:{captions}:{image_folder}"])
