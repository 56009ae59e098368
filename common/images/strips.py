"""Converts a decoded image of any mode to a smaller RGB image, in strips, so that no second full copy is in memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from PIL import Image

from common.images import tiff
from common.images.levels import high_byte_levels, is_deep, levels

#: Pixels of a strip. Its conversion makes a few copies of 4 to 16 bytes per pixel.
STRIP_PIXELS = 2**18


def to_rgb(image: Image.Image, across: int = 1, down: int = 1, high_bytes: bool = False) -> Image.Image:
    """Convert to RGB with transparency on white. Each pixel is the mean of `across` x `down` pixels of `image`.

    `high_bytes` means that the bands had 16 bits, of which Pillow kept the upper 8. Raises `damaged-image` if an image
    of more than 8 bits has no values.
    """
    convert = _conversion(image, high_bytes)
    small = Image.new("RGB", (-(-image.width // across), -(-image.height // down)))
    for top, strip in _strips(image, down):
        small.paste(convert(strip).reduce((across, down)), (0, top // down))
    return small


def is_empty(image: Image.Image) -> bool:
    """Return whether every pixel is fully transparent."""
    if not image.has_transparency_data:
        return False
    return all(strip.convert("RGBA").getchannel("A").getextrema() == (0, 0) for _, strip in _strips(image))


def _strips(image: Image.Image, multiple: int = 1) -> Iterator[tuple[int, Image.Image]]:
    """Yield first row and pixels of each strip. The height of all but the last is a multiple of `multiple`."""
    width, height = image.size
    rows = max(STRIP_PIXELS // width // multiple, 1) * multiple
    for top in range(0, height, rows):
        yield top, image.crop((0, top, width, min(top + rows, height)))


def _conversion(image: Image.Image, high_bytes: bool) -> Callable[[Image.Image], Image.Image]:
    """Return the function that converts a strip of `image` to RGB."""
    if is_deep(image):
        return partial(_from_deep, *levels(image), image.info.get("transparency"))
    convert = partial(_from_high_bytes, *high_byte_levels(image)) if high_bytes else _flatten
    if tiff.has_unnamed_band(image):
        return lambda strip: convert(strip.convert("RGB"))
    return convert


def _flatten(strip: Image.Image) -> Image.Image:
    """Convert to RGB with transparency on white."""
    if strip.mode == "La":  # premultiplied alpha; Pillow converts it only to LA
        strip = strip.convert("LA")
    if strip.has_transparency_data:
        rgba = strip.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", rgba.size, "white"), rgba).convert("RGB")
    return strip.convert("RGB")


def _from_deep(black: float, white: float, transparent: int | None, strip: Image.Image) -> Image.Image:
    """Map values from `black` to `white` to 0 to 255 in RGB. The value `transparent` (16 bits only) becomes white."""
    scale = 255.0 / (white - black) if white != black else 0.0
    grey = strip.convert("F").point(lambda value: value * scale + (0.5 - black * scale)).convert("L")
    if transparent is not None and strip.mode.startswith("I;16"):
        is_transparent = [255 * (value == transparent) for value in range(2**16)]
        grey.paste(255, mask=strip.convert("I").point(is_transparent, "L"))
    return grey.convert("RGB")


def _from_high_bytes(black: float, white: float, strip: Image.Image) -> Image.Image:
    """Map bands from `black` to `white`, 16-bit values of which the strip has the upper 8 bits, to RGB on white."""
    if isinstance(key := strip.info.get("transparency"), tuple):
        strip.info["transparency"] = tuple(value >> 8 for value in key)
    if strip.has_transparency_data:
        strip = strip.convert("RGBA")
    if (black, white) != (0, 2**16 - 1):
        scale = 255.0 / (white - black)
        table = [round(min(max((byte * 257 - black) * scale, 0), 255)) for byte in range(256)]
        strip = strip.point(table * 3 + (list(range(256)) if strip.mode == "RGBA" else []))
    return _flatten(strip)
