"""Synthetic data set of drawn images with correct captions, for smoke tests and benchmarks."""

from __future__ import annotations

import random
from pathlib import Path

from PIL import Image, ImageDraw

from common import strict_json

COLOURS = ("red", "green", "blue", "yellow", "white", "black")
SHAPES = ("ball", "box")
PLACES = ("in the sky", "on the ground")


def draw(folder: Path, count: int, *, side: int = 160, seed: int = 0) -> tuple[Path, Path]:
    """Write `count` images of `side` pixels and a caption file in COCO's layout. Return both paths."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    rng = random.Random(seed)
    listing: dict[str, list[dict[str, object]]] = {"images": [], "annotations": []}
    for number in range(1, count + 1):
        colour, shape, place = rng.choice(COLOURS), rng.choice(SHAPES), rng.choice(PLACES)
        name = f"{number:012d}.jpg"
        _draw_image(colour, shape, place, side, rng).save(images / name)
        listing["images"].append({"id": number, "file_name": name})
        for caption in (f"a {colour} {shape} {place}", f"there is a {colour} {shape} {place} of the picture"):
            listing["annotations"].append({"id": len(listing["annotations"]), "image_id": number, "caption": caption})
    captions = folder / "captions.json"
    captions.write_text(strict_json.dumps(listing), encoding="utf-8")
    return captions, images


def _draw_image(colour: str, shape: str, place: str, side: int, rng: random.Random) -> Image.Image:
    image = Image.new("RGB", (side, side), "skyblue")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, side // 2, side, side), fill="peru")
    size = side // 4
    left = rng.randint(0, side - size)
    top = rng.randint(0, side // 2 - size) + (0 if place == PLACES[0] else side // 2)
    fill_shape = draw.ellipse if shape == "ball" else draw.rectangle
    fill_shape((left, top, left + size, top + size), fill=colour)
    return image
