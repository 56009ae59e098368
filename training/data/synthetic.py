"""Pictures that are drawn, with captions that are true of them: a data set for checks of the whole path, and clocks."""

from __future__ import annotations

import random
from pathlib import Path

from PIL import Image, ImageDraw

from common import strict_json

COLOURS = ("red", "green", "blue", "yellow", "white", "black")
SHAPES = ("ball", "box")
PLACES = ("in the sky", "on the ground")


def draw(folder: Path, count: int, *, side: int = 160, seed: int = 0) -> tuple[Path, Path]:
    """Draw `count` pictures; the caption file and the folder of pictures, in COCO's layout."""
    images = folder / "images"
    images.mkdir(parents=True, exist_ok=True)
    choice = random.Random(seed)
    listing: dict[str, list[dict[str, object]]] = {"images": [], "annotations": []}
    for number in range(1, count + 1):
        colour, shape, place = choice.choice(COLOURS), choice.choice(SHAPES), choice.choice(PLACES)
        name = f"{number:012d}.jpg"
        _picture(colour, shape, place, side, choice).save(images / name)
        listing["images"].append({"id": number, "file_name": name})
        for caption in (f"a {colour} {shape} {place}", f"there is a {colour} {shape} {place} of the picture"):
            listing["annotations"].append({"id": len(listing["annotations"]), "image_id": number, "caption": caption})
    captions = folder / "captions.json"
    captions.write_text(strict_json.dumps(listing), encoding="utf-8")
    return captions, images


def _picture(colour: str, shape: str, place: str, side: int, choice: random.Random) -> Image.Image:
    image = Image.new("RGB", (side, side), "skyblue")
    draw = ImageDraw.Draw(image)
    draw.rectangle((0, side // 2, side, side), fill="peru")
    size = side // 4
    left = choice.randint(0, side - size)
    top = choice.randint(0, side // 2 - size) + (0 if place == PLACES[0] else side // 2)
    put = draw.ellipse if shape == "ball" else draw.rectangle
    put((left, top, left + size, top + size), fill=colour)
    return image
