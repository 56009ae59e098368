"""A decoded picture of any mode to a smaller RGB one, strip by strip, so that there is never a second whole copy."""

from __future__ import annotations

from typing import cast

from PIL import Image

#: Pixels that are converted at once; a strip has some copies at 4 to 16 bytes each.
STRIP_PIXELS = 2**18


def to_rgb(image: Image.Image, across: int = 1, down: int = 1) -> Image.Image:
    """RGB, transparency on white; each pixel is the mean of `across` x `down` pixels of `image`."""
    width, height = image.size
    span = _range(image)
    small = Image.new("RGB", (-(-width // across), -(-height // down)))
    rows = max(STRIP_PIXELS // width // down, 1) * down
    for top in range(0, height, rows):
        strip = _flatten(image.crop((0, top, width, min(top + rows, height))), *span)
        small.paste(strip.reduce((across, down)), (0, top // down))
    return small


def _range(image: Image.Image) -> tuple[float, float]:
    """The values that become black and white, where they are not 0 and 255."""
    if image.mode in ("I", "F"):  # no fixed range: take the one that is used
        return cast("tuple[float, float]", image.getextrema())
    return 0.0, 65535.0


def _flatten(image: Image.Image, black: float, white: float) -> Image.Image:
    if image.mode.startswith("I;16") or image.mode in ("I", "F"):
        scale = 255.0 / (white - black) if white > black else 0.0
        return image.convert("F").point(lambda value: value * scale - black * scale).convert("L").convert("RGB")
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return image.convert("RGB")
